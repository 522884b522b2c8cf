"""Before a plan is started on this host: can it be, and does the person know what will run?"""
