#include "base/cgroup.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>

namespace ingot {
namespace {

std::optional<int64_t> ToInt(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The first word of a file of one value.
std::optional<int64_t> ReadInt(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  if (!(file >> word)) return std::nullopt;
  return ToInt(word);
}

// The value after `key` in a file of "key value" lines.
std::optional<int64_t> ReadStat(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name, value;
    if (words >> name >> value && name == key) return ToInt(value);
  }
  return std::nullopt;
}

template <typename T>
void LowerTo(std::optional<T>& least, const std::optional<T>& value) {
  if (value && (!least || *value < *least)) least = value;
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

// A hierarchy that is mounted somewhere.
struct Mount {
  bool v2;
  std::vector<std::string> controllers;  // v1: its super options hold their names
  std::string group_at_mount;            // the group that the mount point shows ("/" but in some containers)
  std::string mount_point;
};

std::vector<Mount> ReadMounts(const std::string& root) {
  // id parent major:minor group_at_mount mount_point options … - type source super_options
  std::vector<Mount> mounts;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = Split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    if (dash[1] != "cgroup" && dash[1] != "cgroup2") continue;
    mounts.push_back({dash[1] == "cgroup2", Split(dash[3], ','), words[3], words[4]});
  }
  return mounts;
}

// The folders of this process's group and of its ancestors, as far as `mount` shows them.
std::vector<std::string> GroupFolders(const std::string& root, const Mount& mount, std::string_view group) {
  std::string_view below = group;
  const std::string_view shown = mount.group_at_mount == "/" ? std::string_view() : mount.group_at_mount;
  if (below.starts_with(shown)) {
    below.remove_prefix(shown.size());
  } else {
    below = {};  // our group is outside of what is mounted here: its top is the nearest we can see
  }
  std::string folder = root + mount.mount_point;
  std::vector<std::string> folders{folder};
  for (const std::string& part : Split(std::string(below), '/')) {
    if (part.empty()) continue;
    if (part == "..") break;
    folder += "/" + part;
    folders.push_back(folder);
  }
  return folders;
}

void ReadMemory(const std::string& folder, bool v2, CgroupLimits& limits) {
  const std::optional<int64_t> limit = ReadInt(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
  if (!limit || *limit < 0) return;  // "max", or the top group
  LowerTo(limits.memory_limit, limit);
  const int64_t current = ReadInt(folder + (v2 ? "/memory.current" : "/memory.usage_in_bytes")).value_or(0);
  const int64_t cache = ReadStat(folder + "/memory.stat", v2 ? "inactive_file" : "total_inactive_file").value_or(0);
  const int64_t used = std::max<int64_t>(0, current - cache);
  LowerTo(limits.memory_available, std::optional(std::max<int64_t>(0, *limit - used)));
}

void ReadCpu(const std::string& folder, bool v2, CgroupLimits& limits) {
  std::optional<int64_t> quota, period;
  if (v2) {
    std::ifstream file(folder + "/cpu.max");  // "max 100000" | "150000 100000"
    std::string quota_word, period_word;
    if (file >> quota_word >> period_word) {
      quota = ToInt(quota_word);
      period = ToInt(period_word);
    }
  } else {
    quota = ReadInt(folder + "/cpu.cfs_quota_us");  // -1: none
    period = ReadInt(folder + "/cpu.cfs_period_us");
  }
  if (!quota || !period || *quota <= 0 || *period <= 0) return;
  LowerTo(limits.cpu_quota, std::optional(static_cast<double>(*quota) / static_cast<double>(*period)));
}

}  // namespace

CgroupLimits ReadCgroupLimits(const std::string& root) {
  CgroupLimits limits;
  const std::vector<Mount> mounts = ReadMounts(root);
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    // "0::/group" for v2; "4:memory:/group", "3:cpu,cpuacct:/group" for v1
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::vector<std::string> controllers = Split(line.substr(first + 1, second - first - 1), ',');
    const std::string group = line.substr(second + 1);
    for (const Mount& mount : mounts) {
      const auto serves = [&](const char* controller) {
        if (mount.v2 || controllers.empty()) return mount.v2 && controllers.empty();
        return std::ranges::count(controllers, controller) > 0 && std::ranges::count(mount.controllers, controller) > 0;
      };
      for (const std::string& folder : GroupFolders(root, mount, group)) {
        if (serves("memory")) ReadMemory(folder, mount.v2, limits);
        if (serves("cpu")) ReadCpu(folder, mount.v2, limits);
      }
    }
  }
  return limits;
}

MemoryAllowance ReadMemoryAllowance(const std::string& root) {
  const std::string meminfo = root + "/proc/meminfo";
  const int64_t host_total = ReadStat(meminfo, "MemTotal:").value_or(0) * 1024;
  const int64_t host_available = ReadStat(meminfo, "MemAvailable:").value_or(host_total / 1024) * 1024;
  const CgroupLimits limits = ReadCgroupLimits(root);
  MemoryAllowance allowance{host_total, host_available, std::nullopt};
  if (limits.memory_limit && (*limits.memory_limit < host_total || host_total == 0)) {
    allowance.total_bytes = *limits.memory_limit;
    allowance.cgroup_limit = limits.memory_limit;
  }
  if (limits.memory_available && (*limits.memory_available < host_available || host_total == 0)) {
    allowance.available_bytes = *limits.memory_available;
  }
  return allowance;
}

int CountPhysicalCores(const std::string& root, const std::vector<int>& cpus) {
  std::vector<std::pair<int64_t, int64_t>> cores;  // (package, core)
  for (const int cpu : cpus) {
    const std::string folder = root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    const std::optional<int64_t> package = ReadInt(folder + "physical_package_id");
    const std::optional<int64_t> core = ReadInt(folder + "core_id");
    if (!package || !core) return static_cast<int>(cpus.size());
    cores.emplace_back(*package, *core);
  }
  std::ranges::sort(cores);
  return static_cast<int>(std::ranges::unique(cores).begin() - cores.begin());
}

}  // namespace ingot
