"""The demo, as it runs in a pipe."""

import re
import subprocess

import pytest
from streaming.guard_process import GUARD, PATIENCE_SECONDS, environment, guard

pytestmark = pytest.mark.slow


def test_the_demo_in_a_pipe(tmp_path):
    """Plain lines, exit 0; the faulty canary is caught, the healthy one left alone."""
    done = guard("demo", "--speed", "40", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode()
    assert "\x1b" not in said  # no colours, no table
    rollbacks = re.findall(r"^ *(\d+) s +rollback +(\w+)", said, re.MULTILINE)
    ((second, service),) = rollbacks
    assert service == "productcatalogservice"
    assert 90 < int(second) < 150  # the fault begins at 90
    delay = re.search(r"rolled back (\d+) s after its fault began", said)
    assert delay is not None
    assert int(delay[1]) == pytest.approx(int(second) - 90, abs=1)
    assert "The healthy one was left alone." in said
    assert "guard check-policy" in said
    assert re.search(r"20,869 events in \d+ s, [\d,]+ a second", said)
    seconds = [int(s) for s in re.findall(r"^ *(\d+) s  ", said, re.MULTILINE)]
    assert max(seconds) <= 271  # nothing about what comes after the recording
    assert list(tmp_path.iterdir()) == []


def test_without_its_extra_it_says_what_to_install():
    """The broker of the demo comes with an extra; exit 2."""
    code = (
        "import sys; sys.modules['confluent_kafka'] = None\n"
        "from guard.shell import cli; cli.main()"
    )
    python = GUARD.removesuffix("guard") + "python"
    done = subprocess.run(
        [python, "-c", code, "demo"],
        env=environment({}),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert b"pip install 'rollback-guard[demo]'" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("speed", ["0.5", "61", "fast"])
def test_a_speed_out_of_range_is_refused(speed):
    """Slower than real time shows nothing, much faster outruns the beats."""
    done = guard("demo", "--speed", speed)
    assert done.returncode == 2
    assert b"--speed" in done.stderr
