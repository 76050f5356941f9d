// Every CUDA kernel: X(name, function, Params, threads, shared). `name` is its symbol on the device and its KernelId;
// threads and bytes of shared memory are a block's.
#pragma once

// Heads of up to `dim` numbers.
#define INGOT_CUDA_ATTEND(X, type, T, dim)                                                                        \
  X(attend_##dim##_##type, (Attend<T, dim>), AttendParams, kAttendWarps<dim>* kWarpSize, kAttendSharedBytes<dim>) \
  X(attend_split_##dim##_##type, (AttendSplit<T, dim>), AttendParams, kWarpSize, kAttendSplitSharedBytes<dim>)

// Products of up to 16 rows, and of more.
#define INGOT_CUDA_GEMM(X, name, T, kind)                                                               \
  X(gemm_few_##name, (Gemm<T, TileKind::kind, FewRowsShape<TileKind::kind>>), GemmParams,               \
    FewRowsShape<TileKind::kind>::kThreads, FewRowsShape<TileKind::kind>::kSharedBytes<TileKind::kind>) \
  X(gemm_##name, (Gemm<T, TileKind::kind, ManyRowsShape<TileKind::kind>>), GemmParams,                  \
    ManyRowsShape<TileKind::kind>::kThreads, ManyRowsShape<TileKind::kind>::kSharedBytes<TileKind::kind>)

#define INGOT_CUDA_KERNELS_OF(X, type, T)                                               \
  INGOT_CUDA_GEMM(X, int4_##type, T, kInt4)                                             \
  INGOT_CUDA_GEMM(X, int8_##type, T, kInt8)                                             \
  INGOT_CUDA_GEMM(X, dense_##type, T, kDense)                                           \
  INGOT_CUDA_ATTEND(X, type, T, 64)                                                     \
  INGOT_CUDA_ATTEND(X, type, T, 80)                                                     \
  INGOT_CUDA_ATTEND(X, type, T, 96)                                                     \
  INGOT_CUDA_ATTEND(X, type, T, 128)                                                    \
  INGOT_CUDA_ATTEND(X, type, T, 256)                                                    \
  X(merge_splits_##type, (MergeSplits<T>), AttendParams, kWarpSize, 0)                  \
  X(write_kv_##type, (WriteKv<T>), WriteKvParams, kWarpSize, kWriteKvSharedBytes)       \
  X(norm_float_##type, (RmsNorm<float, T>), NormParams, kNormThreads, kNormSharedBytes) \
  X(norm_##type, (RmsNorm<T, T>), NormParams, kNormThreads, kNormSharedBytes)           \
  X(add_##type, (Add<T>), AddParams, kRowThreads, 0)                                    \
  X(activate_multiply_##type, (ActivateMultiply<T>), ActivateParams, kRowThreads, 0)    \
  X(combine_experts_##type, (CombineExperts<T>), CombineExpertsParams, kRowThreads, 0)

#define INGOT_CUDA_KERNELS(X)                                                        \
  INGOT_CUDA_KERNELS_OF(X, half, Half)                                               \
  INGOT_CUDA_KERNELS_OF(X, bfloat16, BFloat16)                                       \
  INGOT_CUDA_GEMM(X, int8_products, SignedBytes, kInt8Products)                      \
  X(gemm_float, GemmFloat, GemmParams, kFloatWarps* kWarpSize, kFloatSharedBytes)    \
  X(quantize_rows, QuantizeRows, QuantizeRowsParams, kNormThreads, kNormSharedBytes) \
  X(embed, Embed, EmbedParams, kRowThreads, 0)                                       \
  X(softcap, Softcap, SoftcapParams, kRowThreads, 0)                                 \
  X(rope_angles, RopeAngles, RopeAnglesParams, kRowThreads, 0)                       \
  X(gather_rows, GatherRows, GatherParams, kRowThreads, 0)                           \
  X(carry_tiles, CarryTiles, CarryTilesParams, kRowThreads, 0)                       \
  X(close_tiles, CloseTiles, CloseTilesParams, kRowThreads, 0)                       \
  X(route, Route, RouteParams, kRowThreads, 0)                                       \
  X(sort_experts, SortExperts, SortExpertsParams, kMaxExperts + 1, kSortSharedBytes) \
  X(draw_tokens, DrawTokens, DrawParams, kDrawThreads, kDrawSharedBytes)             \
  X(conform, Conform, ConformanceParams, kConformanceThreads, kConformanceSharedBytes)
