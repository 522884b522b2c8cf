"""A LaunchPlan as files that a person takes to a cluster: one module per format. Pure, but for `writing`."""
