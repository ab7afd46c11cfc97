"""`asr sweep`: models made equal in size, cost or time, trained alike, compared.

match         what is matched
options       the options of the trainings, checked before any is begun
description   the YAML file: what is matched, which models, seeds, splits, tuning trials
sizes         solving for the size at which a model has a given cost
calibration   how long an epoch of a model takes on this machine, measured once and kept
plan          the configuration of every run, checked against runs that have begun
runs          one run in a process of its own: locked, resumed, tested
command       the verb
"""
