"""The panel: plan, launch, watch and export deployments."""
