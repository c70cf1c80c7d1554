"""What a task and its data set are: the types that sources fill and every stage reads."""
