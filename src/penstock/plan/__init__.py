"""Plans: which pools of devices run which pieces of which model, at what batch, with the proof.

Read the folders in this order:

1. ``documents/``: ``scenario`` (what is asked), ``plan`` (what is answered), ``checker`` (what a plan means).
2. ``templates/``: ``table`` (every way to run one model as a chain of stages), ``space`` (the same, not listed).
3. ``planning_question``: scenario, profiles and limits, as every planner gets them.
4. ``exact/``: ``worker_program`` (the integer program), ``listed_search`` (the search and its proof).
5. ``placement/``: ``assemble`` (from numbers to a plan), ``seats`` (workers on devices), ``within_interfaces``
   (places and rates where the stages keep to no equal part of their hosts' interfaces).
6. ``planners/``: ``pool_planner`` (all of this together), then the baselines.

``large/`` (for more templates than can be listed), ``questions/``, ``replan/``, ``hold/`` and ``autoscale/`` need
none of each other.
Names to use from outside: ``documents.scenario.load_scenario`` and ``load_profiles``, ``planners.by_name.PLANNERS``,
``interfaces.SearchLimits``, ``documents.store.save_plan`` and ``load_plan``.
"""
