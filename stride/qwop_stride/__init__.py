"""The whole pipeline behind one import: `import qwop_stride as qs`."""
