"""The course: a project for the learner to fill in, checks that say what is wrong, questions, grading.

Read in this order: outline (the one list), starter (two projects from one source), package (code from texts), checks/, child
and worker (the learner's process), judge and examiner (ours), bank (wrong and right versions), then the verbs.
"""
