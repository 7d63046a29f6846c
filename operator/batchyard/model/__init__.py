"""Pure data: the BatchTest, its trials, outcomes, events and audit entries."""
