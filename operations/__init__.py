"""What was asked and where it stands: the records, the transition table, the ledger, the queue's producer, settings."""
