"""Behavioural cloning: a dataset of episodes becomes a policy that plays like them."""
