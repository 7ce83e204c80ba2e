"""A certificate authority and what it signs, all PEM, made with openssl.

authority = Authority(folder)
authority.ca_file                                  # whom to trust
authority.issue("server", names="DNS:localhost")   # server.pem: key, certificate, CA
authority.issue("old", names="DNS:localhost", days=-1)   # expired yesterday
"""

import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
DAYS = 30


class Authority:
    """Signs certificates; everything lies in one folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.ca_file = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        folder.mkdir(parents=True, exist_ok=True)
        request = ("req", "-x509", *_KEY, "-keyout", self._key, "-out", self.ca_file)
        self._openssl(*request, "-subj", f"/CN=test-{name}", "-days", str(DAYS))

    def issue(
        self, stem: str, *, names: str = "", subject: str = "", days: int = DAYS
    ) -> Path:
        """Make a key and a certificate; return the file that holds all of it.

        Kafka reads a PEM key store of key, certificate and CA in one file, so there is
        no need for keytool; the key must be PKCS#8. Key and certificate stand beside
        it, as `.key` and `.crt`.

        Parameters
        ----------
        names
            Subject alternative names, as openssl wants them.
        subject
            Common name; the stem when empty.
        days
            How long it is valid; less than 0 is over.
        """
        key, csr, crt, ext, pem = (
            self.folder / f"{stem}.{end}" for end in ("key", "csr", "crt", "ext", "pem")
        )
        subject = f"/CN={subject or stem}"
        self._openssl("req", *_KEY, "-keyout", key, "-out", csr, "-subj", subject)
        ext.write_text(f"subjectAltName={names}\n" if names else "\n")
        signed = ("-CA", self.ca_file, "-CAkey", self._key, "-CAcreateserial")
        lasting = ("-days", str(days), "-extfile", ext)
        self._openssl("x509", "-req", "-in", csr, *signed, "-out", crt, *lasting)
        parts = (key, crt, self.ca_file)
        pem.write_text("".join(part.read_text() for part in parts))
        return pem

    def _openssl(self, *words: str | Path) -> None:
        command = ["openssl", *map(str, words)]
        subprocess.run(command, check=True, capture_output=True)
