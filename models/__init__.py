"""Online statistics: numbers in, numbers out; no clock, no I/O, no Kafka."""
