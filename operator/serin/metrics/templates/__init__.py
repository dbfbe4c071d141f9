"""Built-in metric templates of model servers, one YAML file each: none yet."""
