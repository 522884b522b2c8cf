"""Who may use the panel from where: passwords, sessions, failed attempts, TLS files, names behind a proxy.

Pure rules and small stores; knows neither ASGI nor Gradio. `panel.web` asks it, `pdpanel` builds it from its options.
"""
