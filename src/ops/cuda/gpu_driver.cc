// A GPU by way of NVIDIA's driver, which is found at run time, so that the program runs where it is missing.
#include "base/log.h"
#include "ops/cuda/driver.h"

#ifdef INGOT_HAS_CUDA
#include <cuda.h>
#include <dlfcn.h>

#include <array>

#include "base/check.h"
#include "text/bytes.h"

namespace ingot::ops {
namespace {

// The driver's functions that are used here.
// clang-format off
#define INGOT_DRIVER_FUNCTIONS(X)                                                                              \
  X(cuInit) X(cuGetErrorString) X(cuDeviceGetCount) X(cuDeviceGet) X(cuDeviceGetName) X(cuDeviceGetAttribute)  \
  X(cuDevicePrimaryCtxRetain) X(cuCtxSetCurrent) X(cuMemGetInfo) X(cuMemAlloc) X(cuMemFree) X(cuMemsetD8Async) \
  X(cuMemcpyHtoDAsync) X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync) X(cuStreamCreate) X(cuStreamSynchronize)      \
  X(cuModuleLoadData) X(cuModuleGetFunction) X(cuFuncSetAttribute) X(cuLaunchKernel)                           \
  X(cuMemHostAlloc) X(cuMemFreeHost) X(cuEventCreate) X(cuEventRecord) X(cuEventSynchronize)                   \
  X(cuStreamBeginCapture) X(cuStreamEndCapture) X(cuGraphInstantiate) X(cuGraphDestroy) X(cuGraphLaunch)       \
  X(cuGraphExecDestroy)
// clang-format on
#define INGOT_STRING_OF(name) #name
#define INGOT_STRING(name) INGOT_STRING_OF(name)  // cuda.h renames some: cuMemAlloc is cuMemAlloc_v2

struct Library {
#define INGOT_MEMBER(name) decltype(&::name) name##_ = nullptr;
  INGOT_DRIVER_FUNCTIONS(INGOT_MEMBER)
#undef INGOT_MEMBER
  std::string problem;  // why it cannot be used

  Library() {
    void* const handle = dlopen("libcuda.so.1", RTLD_NOW);
    if (handle == nullptr) {
      problem = "no NVIDIA driver: libcuda.so.1 was not found";
      return;
    }
#define INGOT_FIND(name)                                                            \
  name##_ = reinterpret_cast<decltype(&::name)>(dlsym(handle, INGOT_STRING(name))); \
  if (name##_ == nullptr) problem = "the NVIDIA driver is too old: it lacks " INGOT_STRING(name);
    INGOT_DRIVER_FUNCTIONS(INGOT_FIND)
#undef INGOT_FIND
    if (problem.empty()) problem = TextOf(cuInit_(0));
  }
  // "" where it succeeded.
  std::string TextOf(CUresult result) const {
    if (result == CUDA_SUCCESS) return "";
    const char* text = nullptr;
    if (cuGetErrorString_(result, &text) != CUDA_SUCCESS || text == nullptr) text = "unknown error";
    return fmt::format("{} (CUDA error {})", text, static_cast<int>(result));
  }
};
const Library& library() {
  static const Library the_library;
  return the_library;
}

// What cannot be gone on from.
void Must(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) [[likely]]
    return;
  Log(LogLevel::kError, "CUDA: {}: {}", what, library().TextOf(result));
  INGOT_CHECK(false && "a CUDA device failed");
}

CUdeviceptr AddressOf(const void* p) { return reinterpret_cast<CUdeviceptr>(p); }

// The primary context; all threads share it.
CUcontext the_context = nullptr;
void UseContext() { Must(library().cuCtxSetCurrent_(the_context), "cuCtxSetCurrent"); }

struct GpuGraph final : CudaGraph {
  CUgraphExec graph = nullptr;
  ~GpuGraph() override {
    UseContext();
    Must(library().cuGraphExecDestroy_(graph), "cuGraphExecDestroy");
  }
};

class GpuDriver final : public CudaDriver {
 public:
  explicit GpuDriver(CUdevice device) : device_(device) {}

  Status Open() {
    if (const auto text = library().TextOf(library().cuDevicePrimaryCtxRetain_(&the_context, device_)); !text.empty()) {
      return Unavailable("the GPU cannot be used: {}", text);
    }
    UseContext();
    Must(library().cuStreamCreate_(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    CUmodule module = nullptr;
    if (const auto text = library().TextOf(library().cuModuleLoadData_(&module, kernels::cuda::DeviceProgram().data()));
        !text.empty()) {
      return Unavailable("this program's kernels do not run on {}: {}", Info().name, text);
    }
    for (CUevent& event : events_) {
      Must(library().cuEventCreate_(&event, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
    }
    for (int i = 0; i < kernels::cuda::kNumKernels; ++i) {
      const kernels::cuda::KernelInfo& kernel = kernels::cuda::InfoOf(static_cast<kernels::cuda::KernelId>(i));
      CUfunction& function = functions_[static_cast<size_t>(i)];
      Must(library().cuModuleGetFunction_(&function, module, kernel.name), kernel.name);
      constexpr uint32_t kSharedWithoutAsking = 48 << 10;
      if (kernel.shared_bytes <= kSharedWithoutAsking) continue;
      Must(library().cuFuncSetAttribute_(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                         static_cast<int>(kernel.shared_bytes)),
           kernel.name);
    }
    return {};
  }

  CudaDeviceInfo Info() const override {
    UseContext();
    CudaDeviceInfo info;
    char name[256] = {};
    Must(library().cuDeviceGetName_(name, sizeof(name), device_), "cuDeviceGetName");
    info.name = name;
    info.compute_capability = Attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) * 10 +
                              Attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    info.num_sms = Attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    size_t free = 0, total = 0;
    Must(library().cuMemGetInfo_(&free, &total), "cuMemGetInfo");
    info.free_bytes = static_cast<int64_t>(free);
    info.total_bytes = static_cast<int64_t>(total);
    return info;
  }

  Result<Buffer> Allocate(int64_t bytes) override {
    UseContext();
    CUdeviceptr at = 0;
    const auto size = static_cast<size_t>(bytes > 0 ? bytes : 1);
    if (const auto text = library().TextOf(library().cuMemAlloc_(&at, size)); !text.empty()) {
      return ResourceExhausted("no GPU memory for {}: {}", FormatBytes(bytes), text);
    }
    Must(library().cuMemsetD8Async_(at, 0, size, stream_), "cuMemsetD8Async");
    return Buffer::Adopt(reinterpret_cast<std::byte*>(at), bytes, [](std::byte* data, int64_t) {
      UseContext();
      Must(library().cuMemFree_(AddressOf(data)), "cuMemFree");  // waits for what uses it
    });
  }
  Result<Buffer> AllocatePinned(int64_t bytes) override {
    UseContext();
    void* data = nullptr;
    const auto size = static_cast<size_t>(bytes > 0 ? bytes : 1);
    if (const auto text = library().TextOf(library().cuMemHostAlloc_(&data, size, 0)); !text.empty()) {
      return ResourceExhausted("no pinned memory for {}: {}", FormatBytes(bytes), text);
    }
    return Buffer::Adopt(static_cast<std::byte*>(data), bytes, [](std::byte* at, int64_t) {
      UseContext();
      Must(library().cuMemFreeHost_(at), "cuMemFreeHost");
    });
  }
  // From pageable memory: the driver copies it to memory of its own before it returns.
  void Upload(std::byte* to, const void* from, int64_t bytes) override {
    if (bytes == 0) return;
    UseContext();
    Must(library().cuMemcpyHtoDAsync_(AddressOf(to), from, static_cast<size_t>(bytes), stream_), "upload");
  }
  void Download(void* to, const std::byte* from, int64_t bytes) override {
    UseContext();
    if (bytes > 0) {
      Must(library().cuMemcpyDtoHAsync_(to, AddressOf(from), static_cast<size_t>(bytes), stream_), "download");
    }
    Must(library().cuStreamSynchronize_(stream_), last_kernel_);
  }
  void Copy(std::byte* to, const std::byte* from, int64_t bytes) override {
    if (bytes == 0) return;
    UseContext();
    Must(library().cuMemcpyDtoDAsync_(AddressOf(to), AddressOf(from), static_cast<size_t>(bytes), stream_), "copy");
  }
  // From and to pinned memory the same calls return at once.
  void UploadLater(std::byte* to, const std::byte* pinned, int64_t bytes) override { Upload(to, pinned, bytes); }
  void DownloadLater(std::byte* pinned, const std::byte* from, int64_t bytes) override {
    UseContext();
    Must(library().cuMemcpyDtoHAsync_(pinned, AddressOf(from), static_cast<size_t>(bytes), stream_), "download");
  }
  // Of older marks the events are used again: to wait for a later mark is enough.
  int64_t Mark() override {
    UseContext();
    Must(library().cuEventRecord_(EventOf(++marks_), stream_), "cuEventRecord");
    return marks_;
  }
  void WaitFor(int64_t mark) override {
    if (mark <= waited_) return;
    UseContext();
    Must(library().cuEventSynchronize_(EventOf(mark)), last_kernel_);
    waited_ = mark;
  }
  void Launch(const CudaLaunch& launch, const void* params) override {
    UseContext();
    const kernels::cuda::KernelInfo& kernel = kernels::cuda::InfoOf(launch.kernel);
    const CUfunction function = functions_[static_cast<size_t>(launch.kernel)];
    void* arguments[] = {const_cast<void*>(params)};
    const auto& grid = launch.grid;
    Must(library().cuLaunchKernel_(function, grid.x, grid.y, grid.z, kernel.threads, 1, 1, kernel.shared_bytes, stream_,
                                   arguments, nullptr),
         kernel.name);
    last_kernel_ = kernel.name;
  }
  std::unique_ptr<CudaGraph> MakeGraph(std::span<const CudaGraphNode> nodes) override {
    UseContext();
    Must(library().cuStreamBeginCapture_(stream_, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuStreamBeginCapture");
    for (const CudaGraphNode& node : nodes) Launch(node.launch, node.params);
    CUgraph captured = nullptr;
    Must(library().cuStreamEndCapture_(stream_, &captured), "cuStreamEndCapture");
    auto graph = std::make_unique<GpuGraph>();
    Must(library().cuGraphInstantiate_(&graph->graph, captured, 0), "cuGraphInstantiate");
    Must(library().cuGraphDestroy_(captured), "cuGraphDestroy");
    return graph;
  }
  void Launch(const CudaGraph& graph) override {
    UseContext();
    Must(library().cuGraphLaunch_(static_cast<const GpuGraph&>(graph).graph, stream_), "cuGraphLaunch");
    last_kernel_ = "in a graph";
  }

 private:
  CUevent EventOf(int64_t mark) const { return events_[static_cast<size_t>(mark) % events_.size()]; }
  int Attribute(CUdevice_attribute attribute) const {
    int value = 0;
    Must(library().cuDeviceGetAttribute_(&value, attribute, device_), "cuDeviceGetAttribute");
    return value;
  }

  const CUdevice device_;
  CUstream stream_ = nullptr;
  std::array<CUfunction, kernels::cuda::kNumKernels> functions_{};
  std::array<CUevent, 8> events_{};                      // of the last marks
  int64_t marks_ = 0, waited_ = 0;                       // the newest, and the newest that was waited for
  const char* last_kernel_ = "before the first kernel";  // the last launched: the fault is its, or of one before
};

}  // namespace

Result<std::unique_ptr<CudaDriver>> OpenGpu(int device_index) {
  if (!library().problem.empty()) return Unavailable("CUDA cannot be used: {}", library().problem);
  int count = 0;
  Must(library().cuDeviceGetCount_(&count), "cuDeviceGetCount");
  if (device_index >= count) {
    return Unavailable("CUDA device {} does not exist; there are {}", device_index, count);
  }
  CUdevice device = 0;
  Must(library().cuDeviceGet_(&device, device_index), "cuDeviceGet");
  auto driver = std::make_unique<GpuDriver>(device);
  INGOT_RETURN_IF_ERROR(driver->Open());
  return driver;
}

}  // namespace ingot::ops

#else

namespace ingot::ops {

Result<std::unique_ptr<CudaDriver>> OpenGpu(int) {
  return Unavailable("this program was built without CUDA: nvcc was not found; \"make build CUDA=1\" installs it");
}

}  // namespace ingot::ops
#endif
