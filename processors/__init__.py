"""The pure core: functions of values. No I/O, no clock, no globals, no Kafka, no OpenTelemetry."""
