"""From a Deployment to a LaunchPlan: who runs where, on which GPUs, NICs and ports. Pure."""
