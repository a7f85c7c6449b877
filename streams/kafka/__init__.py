"""What speaks to Kafka: names, records, readers, and the patches of its clients."""
