// What this build can do: the one place that says so.
#pragma once

// The devices that it computes on, as a clause.
#define INGOT_COMPUTES_ON "this build computes on the CPU, or with --device cuda on an NVIDIA GPU"
