"""The rules that a plan must keep, by subject. :mod:`penstock.plan.documents.checker` asks all of them."""
