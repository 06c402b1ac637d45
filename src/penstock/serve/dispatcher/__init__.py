"""The decision loop: it hears of requests and gives each batch its route. It never sees a tensor."""
