"""Encodes a folder with wfvae.ray, as a program of a user. A process of its own, so that it can be killed.

    driver.py ADDRESS INPUT FOLDER OPTIONS   OPTIONS is JSON: format, actors, cpus, clips_per_block, encode (the options of Encode)

Prints, as JSON, how many clips it was left with."""

import json
import sys

import ray
import ray.data

import wfvae.ray

address, source, folder, options = sys.argv[1:]
options = json.loads(options)
ray.init(address, log_to_driver=False, logging_level="error")
ray.data.DataContext.get_current().enable_progress_bars = False
sink = wfvae.ray.Sink(folder, format=options.get("format", "parquet"))
clips = wfvae.ray.clips(source, done=sink, clips_per_block=options.get("clips_per_block", 4)).materialize()
encode = wfvae.ray.Encode(sink=sink, **options.get("encode", {}))
actors = ray.data.ActorPoolStrategy(size=options.get("actors", 1))
sink.store(clips.map_batches(encode, batch_format="pyarrow", compute=actors, num_cpus=options.get("cpus", 1)))
print(json.dumps({"left": clips.count(), "done": len(sink.done)}))
