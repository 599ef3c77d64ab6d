"""What every other package stands on: names, errors, settings, the fleet file, the store, model folders."""
