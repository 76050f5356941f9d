#include "llm/compute.h"

#include <gtest/gtest.h>

#include "ops/isa_info.h"

namespace ingot::llm {
namespace {

TEST(Compute, AutoIsExactForSmallModelsWhereFastIsNotClose) {
  const bool is_close = ops::GetIsaInfo().fast_is_close;
  models::ModelSpec spec;
  spec.hidden_size = 640;
  const ComputeChoice small = ChooseCompute(Compute::kAuto, spec);
  EXPECT_EQ(small.compute, is_close ? Compute::kFast : Compute::kExact);
  EXPECT_FALSE(small.why.empty());
  spec.hidden_size = 2048;
  EXPECT_EQ(ChooseCompute(Compute::kAuto, spec).compute, Compute::kFast);
}

TEST(Compute, WhatIsAskedForIsTaken) {
  models::ModelSpec spec;
  spec.hidden_size = 640;
  EXPECT_EQ(ChooseCompute(Compute::kFast, spec).compute, Compute::kFast);
  EXPECT_EQ(ChooseCompute(Compute::kFast, spec).why, "");
  for (const Compute compute : {Compute::kAuto, Compute::kFast, Compute::kExact})
    EXPECT_EQ(ComputeOf(ComputeName(compute)), compute);
}

}  // namespace
}  // namespace ingot::llm
