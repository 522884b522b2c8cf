"""Known failures as lines of a log, by who says them. Data alone; `panel.doctor.log` looks for them."""
