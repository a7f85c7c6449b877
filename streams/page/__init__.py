"""The live page: what is known of a pipeline in a browser, pushed as it changes. A process of its own, with NiceGUI."""
