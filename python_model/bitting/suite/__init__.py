"""The attack suite: every lock judged by the same attackers, with controls, in jobs that resume. Knows attacks and checks."""
