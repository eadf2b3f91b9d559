"""The course: a project for the learner to fill in, checks that say what is wrong, questions, grading.

Read in this order: `outline` (the one list of lessons, objectives, exercises and questions), `source` (functions as text; the
reference and the starter project), `checks`, `bank` (known wrong and right versions of each exercise), `examination` (running
the learner's code in a process of its own and judging it), `questions`, `workspace` (the learner's folder and record), then
`study` (what the learner's verbs do), `grade` and `verify`.
"""
