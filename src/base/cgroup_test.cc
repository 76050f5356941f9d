#include "base/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace ingot {
namespace {

// A made-up root with proc/ and sys/.
class CgroupTest : public ::testing::Test {
 protected:
  CgroupTest() : root_(::testing::TempDir() + "ingot_cgroup_" + std::to_string(getpid())) {
    std::filesystem::remove_all(root_);
    Write("/proc/meminfo", "MemTotal: 8192 kB\nMemFree: 1 kB\nMemAvailable: 4096 kB\n");
  }
  ~CgroupTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << content;
  }
  void MountV2(const std::string& group_at_mount = "/") {
    Write("/proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw\n29 23 0:26 " + group_at_mount +
                                      " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  }

  std::string root_;
};

TEST_F(CgroupTest, NothingThereLimitsNothing) {
  const CgroupLimits limits = ReadCgroupLimits(root_);
  EXPECT_FALSE(limits.cpu_quota);
  EXPECT_FALSE(limits.memory_limit);
  const MemoryAllowance memory = ReadMemoryAllowance(root_);
  EXPECT_EQ(memory.total_bytes, 8192 * 1024);
  EXPECT_EQ(memory.available_bytes, 4096 * 1024);
  EXPECT_FALSE(memory.cgroup_limit);
}

TEST_F(CgroupTest, V2TakesTheLeastOfEveryAncestor) {
  MountV2();
  Write("/proc/self/cgroup", "0::/outer/inner\n");
  Write("/sys/fs/cgroup/outer/memory.max", "3145728\n");
  Write("/sys/fs/cgroup/outer/memory.current", "2097152\n");
  Write("/sys/fs/cgroup/outer/memory.stat", "anon 5\ninactive_file 524288\nactive_file 9\n");
  Write("/sys/fs/cgroup/outer/cpu.max", "max 100000\n");
  Write("/sys/fs/cgroup/outer/inner/memory.max", "4194304\n");
  Write("/sys/fs/cgroup/outer/inner/memory.current", "1048576\n");
  Write("/sys/fs/cgroup/outer/inner/cpu.max", "150000 100000\n");
  const CgroupLimits limits = ReadCgroupLimits(root_);
  EXPECT_EQ(limits.memory_limit, 3145728);
  EXPECT_EQ(limits.memory_available, 3145728 - 2097152 + 524288);
  EXPECT_EQ(limits.cpu_quota, 1.5);
  const MemoryAllowance memory = ReadMemoryAllowance(root_);
  EXPECT_EQ(memory.total_bytes, 3145728);
  EXPECT_EQ(memory.cgroup_limit, 3145728);
  EXPECT_EQ(memory.available_bytes, 3145728 - 2097152 + 524288);
}

TEST_F(CgroupTest, V2Unlimited) {
  MountV2();
  Write("/proc/self/cgroup", "0::/a\n");
  Write("/sys/fs/cgroup/a/memory.max", "max\n");
  Write("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
  const CgroupLimits limits = ReadCgroupLimits(root_);
  EXPECT_FALSE(limits.cpu_quota);
  EXPECT_FALSE(limits.memory_limit);
}

TEST_F(CgroupTest, ALimitAboveTheHostIsNone) {
  MountV2();
  Write("/proc/self/cgroup", "0::/a\n");
  Write("/sys/fs/cgroup/a/memory.max", "1099511627776\n");
  EXPECT_FALSE(ReadMemoryAllowance(root_).cgroup_limit);
  EXPECT_EQ(ReadMemoryAllowance(root_).total_bytes, 8192 * 1024);
}

TEST_F(CgroupTest, ContainerWhoseMountShowsItsOwnGroupAsTop) {
  MountV2("/docker/abc");
  Write("/proc/self/cgroup", "0::/docker/abc/worker\n");
  Write("/sys/fs/cgroup/memory.max", "1048576\n");
  Write("/sys/fs/cgroup/worker/memory.max", "524288\n");
  EXPECT_EQ(ReadCgroupLimits(root_).memory_limit, 524288);
  Write("/proc/self/cgroup", "0::/../elsewhere\n");  // moved out of the mounted part
  EXPECT_EQ(ReadCgroupLimits(root_).memory_limit, 1048576);
}

TEST_F(CgroupTest, V1AndHybrid) {
  Write("/proc/self/mountinfo",
        "31 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "32 23 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "33 23 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  Write("/proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/job\n1:name=systemd:/\n0::/\n");
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Write("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "2097152\n");
  Write("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1048576\n");
  Write("/sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 4096\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "50000\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  const CgroupLimits limits = ReadCgroupLimits(root_);
  EXPECT_EQ(limits.memory_limit, 2097152);
  EXPECT_EQ(limits.memory_available, 2097152 - 1048576 + 4096);
  EXPECT_EQ(limits.cpu_quota, 0.5);
}

TEST_F(CgroupTest, NonsenseLimitsNothing) {
  MountV2();
  Write("/proc/self/cgroup", "0::/a\nnonsense\n::\n");
  Write("/sys/fs/cgroup/a/memory.max", "12x\n");
  Write("/sys/fs/cgroup/a/cpu.max", "100000 0\n");
  const CgroupLimits limits = ReadCgroupLimits(root_);
  EXPECT_FALSE(limits.cpu_quota);
  EXPECT_FALSE(limits.memory_limit);
}

TEST_F(CgroupTest, UsedMoreThanTheLimitLeavesNothing) {
  MountV2();
  Write("/proc/self/cgroup", "0::/a\n");
  Write("/sys/fs/cgroup/a/memory.max", "1048576\n");
  Write("/sys/fs/cgroup/a/memory.current", "2097152\n");
  EXPECT_EQ(ReadCgroupLimits(root_).memory_available, 0);
}

TEST_F(CgroupTest, CountsCoresOnce) {
  const int cores[] = {0, 1, 0, 1};
  for (int cpu = 0; cpu < 4; ++cpu) {
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    Write(folder + "physical_package_id", "0\n");
    Write(folder + "core_id", std::to_string(cores[cpu]) + "\n");
  }
  EXPECT_EQ(CountPhysicalCores(root_, {0, 1, 2, 3}), 2);
  EXPECT_EQ(CountPhysicalCores(root_, {0, 2}), 1);
  EXPECT_EQ(CountPhysicalCores(root_, {0, 1, 9}), 3);  // 9 is not described: every thread counts
}

TEST(Topology, ThisMachine) {
  const CpuAllowance cpu = GetCpuAllowance();
  EXPECT_GE(cpu.usable_threads, 1);
  EXPECT_LE(cpu.usable_threads, cpu.hardware_threads);
  EXPECT_LE(cpu.physical_cores, cpu.hardware_threads);
  const MemoryAllowance memory = GetMemoryAllowance();
  EXPECT_GT(memory.available_bytes, 0);
  EXPECT_LE(memory.available_bytes, memory.total_bytes);
}

TEST(Topology, ResidentMemoryGrowsWithUse) {
  const int64_t before = PeakResidentBytes();
  const std::vector<char> block(64 << 20, 1);
  EXPECT_GE(PeakResidentBytes() - before, 48 << 20);
  EXPECT_GT(ResidentBytes(), 48 << 20);
  EXPECT_EQ(block.back(), 1);
}

}  // namespace
}  // namespace ingot
