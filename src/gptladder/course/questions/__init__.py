"""A lesson's questions: choices, numbers drawn for each learner, exhibits to judge."""
