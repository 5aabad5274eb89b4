"""The demo checkpoint's recipe, from texts that anybody can get."""
