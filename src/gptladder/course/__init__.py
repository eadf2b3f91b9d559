"""The course: a project for the learner to fill in, checks that say what is wrong, questions, grading.

Read in this order: outline (the one list), source/ (functions and packages made from texts), checks/ (what each exercise must
get right), bank/ (wrong and right versions), examination/ (how a learner's code is run and judged), questions/, workspace/
(the learner's project), then grade and verify.
"""
