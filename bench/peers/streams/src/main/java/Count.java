import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.sun.management.OperatingSystemMXBean;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.AppInfoParser;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Kafka Streams on the job of bench/throughput.py, with one thread.
 *
 * <p>Count cells|windows BOOTSTRAP TOPIC RECORDS PER_RECORD
 *
 * <ul>
 *   <li>cells: a processor with a map of its own: as fast as it goes, lost in a crash;
 *   <li>windows: keyed by service, version and cohort over a topic in between, windowed by event
 *       time in RocksDB with its changelog: what survives a crash.
 * </ul>
 */
public final class Count {
  private static final double LOG_GAMMA = Math.log(1.01 / 0.99);
  private static final int LOWEST = -230;
  private static final int BUCKETS = 1037;
  private static final long WARM_EVENTS = 100_000;
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final ObjectReader ONE = JSON.readerFor(Event.class);
  private static final ObjectReader MANY = JSON.readerFor(Event[].class);

  /** What is needed of an event. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  public static final class Event {
    public String service;
    public double ts;
    public double latency_ms;
    public int status;
    public String cohort;
    public String version;
    public String instance;
  }

  private record Key(long second, String service, String version, String cohort) {}

  /** Requests, errors, status classes, latency sketch, counts by instance. */
  private static final class Cell {
    long requests;
    long errors;
    final long[] classes = new long[6];
    final Map<Integer, int[]> sketch = new HashMap<>();
    final Map<String, long[]> instances = new HashMap<>();

    Cell add(Event e) {
      boolean isError = e.status >= 500;
      requests++;
      errors += isError ? 1 : 0;
      classes[e.status / 100]++;
      double bucket = Math.ceil(Math.log(Math.max(e.latency_ms, 0.01)) / LOG_GAMMA) - LOWEST;
      int place = Math.min(BUCKETS - 1, Math.max(0, (int) bucket));
      sketch.computeIfAbsent(place, k -> new int[1])[0]++;
      long[] counts = instances.computeIfAbsent(e.instance, k -> new long[2]);
      counts[0]++;
      counts[1] += isError ? 1 : 0;
      return this;
    }
  }

  private static final class Watch {
    final long records;
    final long perRecord;
    final long begin;
    long seen;
    long events;
    long from;
    long wallStart;
    long cpuStart;

    Watch(long records, long perRecord) {
      this.records = records;
      this.perRecord = perRecord;
      this.begin = Math.min(WARM_EVENTS / perRecord, records / 10);
    }

    void addEvent() {
      if (++events % perRecord == 0) {
        addRecord();
      }
    }

    void addRecord() {
      seen++;
      if (seen == begin) {
        from = seen;
        wallStart = System.nanoTime();
        cpuStart = cpu();
      } else if (seen == records) {
        System.out.printf(
            Locale.ROOT,
            "{\"events\": %d, \"wall\": %.3f, \"cpu\": %.3f, \"version\": \"Kafka Streams %s\"}%n",
            (seen - from) * perRecord,
            (System.nanoTime() - wallStart) / 1e9,
            (cpu() - cpuStart) / 1e9,
            AppInfoParser.getVersion());
        System.out.flush();
        Runtime.getRuntime().halt(0);
      }
    }

    private static long cpu() {
      OperatingSystemMXBean system =
          (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
      return system.getProcessCpuTime();
    }
  }

  private static List<Event> decode(byte[] value, long perRecord) {
    try {
      if (perRecord == 1) {
        Event event = ONE.readValue(value);
        return List.of(event);
      }
      Event[] several = MANY.readValue(value);
      return List.of(several);
    } catch (IOException error) {
      return List.of();
    }
  }

  private static void cells(KStream<Bytes, byte[]> source, Watch watch) {
    Map<Key, Cell> counted = new HashMap<>();
    source.process(
        () ->
            new Processor<Bytes, byte[], Void, Void>() {
              @Override
              public void process(Record<Bytes, byte[]> record) {
                for (Event e : decode(record.value(), watch.perRecord)) {
                  Key key = new Key((long) e.ts, e.service, e.version, e.cohort);
                  counted.computeIfAbsent(key, k -> new Cell()).add(e);
                }
                watch.addRecord();
              }
            });
  }

  private static void windows(KStream<Bytes, byte[]> source, Watch watch) {
    Serde<Event> events =
        serde(
            (e, out) -> out.write(JSON.writeValueAsBytes(e)),
            in -> {
              Event event = ONE.readValue(in.readAllBytes());
              return event;
            });
    Serde<Cell> cells = serde(Count::write, Count::read);
    source
        .flatMapValues(value -> decode(value, watch.perRecord))
        .selectKey((key, e) -> e.service + "|" + e.version + "|" + e.cohort)
        .groupByKey(Grouped.with("by-cohort", Serdes.String(), events))
        .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(1), Duration.ofSeconds(60)))
        .aggregate(
            Cell::new,
            (key, e, cell) -> {
              watch.addEvent();
              return cell.add(e);
            },
            Materialized.<String, Cell, WindowStore<Bytes, byte[]>>as("counts")
                .withKeySerde(Serdes.String())
                .withValueSerde(cells));
  }

  private interface Writer<T> {
    void write(T value, DataOutputStream out) throws IOException;
  }

  private interface Reader<T> {
    T read(DataInputStream in) throws IOException;
  }

  private static <T> Serde<T> serde(Writer<T> writer, Reader<T> reader) {
    Serializer<T> serializer =
        (topic, value) -> {
          if (value == null) {
            return null;
          }
          ByteArrayOutputStream bytes = new ByteArrayOutputStream();
          try {
            writer.write(value, new DataOutputStream(bytes));
          } catch (IOException error) {
            throw new UncheckedIOException(error);
          }
          return bytes.toByteArray();
        };
    Deserializer<T> deserializer =
        (topic, bytes) -> {
          if (bytes == null) {
            return null;
          }
          try {
            return reader.read(new DataInputStream(new ByteArrayInputStream(bytes)));
          } catch (IOException error) {
            throw new UncheckedIOException(error);
          }
        };
    return Serdes.serdeFrom(serializer, deserializer);
  }

  private static void write(Cell cell, DataOutputStream out) throws IOException {
    out.writeLong(cell.requests);
    out.writeLong(cell.errors);
    for (long count : cell.classes) {
      out.writeLong(count);
    }
    out.writeInt(cell.sketch.size());
    for (Map.Entry<Integer, int[]> bucket : cell.sketch.entrySet()) {
      out.writeShort(bucket.getKey());
      out.writeInt(bucket.getValue()[0]);
    }
    out.writeInt(cell.instances.size());
    for (Map.Entry<String, long[]> instance : new ArrayList<>(cell.instances.entrySet())) {
      out.writeUTF(instance.getKey());
      out.writeLong(instance.getValue()[0]);
      out.writeLong(instance.getValue()[1]);
    }
  }

  private static Cell read(DataInputStream in) throws IOException {
    Cell cell = new Cell();
    cell.requests = in.readLong();
    cell.errors = in.readLong();
    for (int i = 0; i < cell.classes.length; i++) {
      cell.classes[i] = in.readLong();
    }
    for (int left = in.readInt(); left > 0; left--) {
      cell.sketch.put((int) in.readShort(), new int[] {in.readInt()});
    }
    for (int left = in.readInt(); left > 0; left--) {
      cell.instances.put(in.readUTF(), new long[] {in.readLong(), in.readLong()});
    }
    return cell;
  }

  public static void main(String[] words) throws IOException {
    Watch watch = new Watch(Long.parseLong(words[3]), Long.parseLong(words[4]));
    Properties settings = new Properties();
    settings.put("application.id", "streams-" + ProcessHandle.current().pid());
    settings.put("bootstrap.servers", words[1]);
    settings.put("auto.offset.reset", "earliest");
    settings.put("state.dir", Files.createTempDirectory("streams-count").toString());
    settings.put("num.stream.threads", "1");
    settings.put("replication.factor", "1");
    StreamsBuilder builder = new StreamsBuilder();
    KStream<Bytes, byte[]> source =
        builder.stream(words[2], Consumed.with(Serdes.Bytes(), Serdes.ByteArray()));
    if (words[0].equals("cells")) {
      cells(source, watch);
    } else {
      windows(source, watch);
    }
    new KafkaStreams(builder.build(), settings).start();
  }
}
