"""The examination: a learner's code is run and judged by three processes, in this order.

1. examiner.py, in the verb's own process, sends a job to the worker and gets a report back (protocol.py has the messages).
2. worker.py, a server without any code of the learner's, forks a child for each job, watches it and ends it at its limits.
3. child.py loads the learner's code, runs the probes of one exercise on it, and writes down what they gave (guards.py
   keeps it from changing Python and torch, failures.py says which of the learner's lines an error came from).
4. judge.py, in the verb's process again, compares that with what the reference gives, and the verdict is made (verdict.py).

The judge asks in_process.py for the reference's results and known_mistakes.py whether a mutant of the bank gives the same.
`gptladder trace` uses tracing.py (tensors of one call) and divergence.py (where they begin to differ from the reference's).
"""
