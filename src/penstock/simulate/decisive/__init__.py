"""The decisive test of generated load: does it predict what a plan can hold under the real one?"""
