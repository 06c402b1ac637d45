"""The decision loop: requests' metadata in, routes out. It never sees a tensor."""
