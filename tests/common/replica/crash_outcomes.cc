// SPDX-License-Identifier: Apache-2.0
// What a CrashingFileSystem leaves behind.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/common/replica/crashing_file_system.h"

namespace gradwire {
namespace {

constexpr size_t kMaxCombinations = 200;

std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

std::vector<CrashingFileSystem::Prefix> CrashingFileSystem::PrefixesOf(const Inode& inode) {
  std::vector<Prefix> prefixes;
  for (size_t whole = 0; whole <= inode.unsynced.size(); ++whole) {
    prefixes.push_back({.whole = whole});
    if (whole == inode.unsynced.size() || !inode.unsynced[whole].is_write) continue;
    const size_t size = inode.unsynced[whole].bytes.size();
    std::set<size_t> cuts = {1, size / 2, size - 1};
    for (const size_t cut : cuts) {
      if (cut > 0 && cut < size) prefixes.push_back({.whole = whole, .bytes = cut});
    }
    for (const size_t cut : {size_t{0}, size / 2}) {
      prefixes.push_back({.whole = whole, .bytes = cut, .grown = true});
    }
  }
  return prefixes;
}

std::string CrashingFileSystem::OnDisk(const Inode& inode, const Prefix& prefix) {
  std::string bytes = inode.on_disk;
  for (size_t i = 0; i < prefix.whole; ++i) Apply(inode.unsynced[i], &bytes);
  if (prefix.bytes == 0 && !prefix.grown) return bytes;
  Change torn = inode.unsynced[prefix.whole];
  const uint64_t end = torn.offset + torn.bytes.size();
  torn.bytes.resize(prefix.bytes);
  Apply(torn, &bytes);
  if (prefix.grown && bytes.size() < end) bytes.resize(end);
  return bytes;
}

std::map<size_t, CrashingFileSystem::Entry> CrashingFileSystem::UnsyncedFiles() const {
  std::map<size_t, Entry> files;
  const auto add = [&files](const Entry& entry) {
    if (entry != nullptr && !entry->unsynced.empty()) files[entry->id] = entry;
  };
  for (const auto& [path, folder] : folders_) {
    for (const auto& [name, entry] : folder.on_disk) add(entry);
    for (const NameChange& change : folder.unsynced) add(change.entry);
  }
  return files;
}

std::vector<size_t> CrashingFileSystem::Choices() const {
  std::vector<size_t> choices;
  for (const auto& [path, folder] : folders_) {
    if (!folder.unsynced.empty()) choices.push_back(folder.unsynced.size() + 1);
  }
  for (const auto& [id, file] : UnsyncedFiles()) choices.push_back(PrefixesOf(*file).size());
  return choices;
}

std::vector<CrashingFileSystem::PowerCut> CrashingFileSystem::PowerCuts() const {
  MutexLock lock(&mu_);
  const std::vector<size_t> choices = Choices();
  size_t combinations = 1;
  for (const size_t choice : choices) {
    combinations = std::min(kMaxCombinations + 1, combinations * choice);
  }
  const PowerCut none(choices.size(), 0);
  std::vector<PowerCut> cuts;
  if (combinations <= kMaxCombinations) {
    for (size_t i = 0; i < combinations; ++i) {
      PowerCut cut = none;
      size_t left = i;
      for (size_t j = 0; j < cut.size(); ++j) {
        cut[j] = left % choices[j];
        left /= choices[j];
      }
      cuts.push_back(std::move(cut));
    }
    return cuts;
  }
  PowerCut all = none;
  for (size_t j = 0; j < all.size(); ++j) all[j] = choices[j] - 1;
  for (size_t j = 0; j < all.size(); ++j) {
    for (size_t position = 0; position < choices[j]; ++position) {
      for (const PowerCut& others : {none, all}) {
        cuts.push_back(others);
        cuts.back()[j] = position;
      }
    }
  }
  return cuts;
}

std::unique_ptr<CrashingFileSystem> CrashingFileSystem::AfterPowerCut(const PowerCut& cut) const {
  MutexLock lock(&mu_);
  auto disk = std::make_unique<CrashingFileSystem>();
  MutexLock disk_lock(&disk->mu_);
  EXPECT_EQ(cut.size(), Choices().size()) << "the disk has changed since PowerCuts";
  size_t choice = 0;
  std::map<std::string, Names> names;
  for (const auto& [path, folder] : folders_) {
    names[path] = folder.on_disk;
    const size_t kept = folder.unsynced.empty() ? 0 : cut[choice++];
    for (size_t i = 0; i < kept; ++i) Apply(folder.unsynced[i], &names[path]);
  }
  std::map<size_t, std::string> bytes;
  for (const auto& [id, file] : UnsyncedFiles()) {
    bytes[id] = OnDisk(*file, PrefixesOf(*file)[cut[choice++]]);
  }
  // Parents sort before what is in them: a folder that is lost takes all below it along.
  std::map<size_t, Entry> inodes;
  for (const auto& [path, entries] : names) {
    if (path != "/" && disk->folders_.count(FolderOf(path)) == 0) continue;
    if (path != "/" && names[FolderOf(path)].count(NameOf(path)) == 0) continue;
    Folder& folder = disk->folders_[path];
    for (const auto& [name, entry] : entries) {
      Entry& copy = folder.seen[name];
      if (entry == nullptr) continue;
      Entry& inode = inodes[entry->id];
      if (inode == nullptr) {
        inode = std::make_shared<Inode>();
        inode->id = disk->next_inode_++;
        inode->seen = bytes.count(entry->id) != 0 ? bytes[entry->id] : entry->on_disk;
        inode->on_disk = inode->seen;
      }
      copy = inode;
    }
    folder.on_disk = folder.seen;
  }
  return disk;
}

std::unique_ptr<CrashingFileSystem> CrashingFileSystem::AfterKill() const {
  MutexLock lock(&mu_);
  auto disk = std::make_unique<CrashingFileSystem>();
  MutexLock disk_lock(&disk->mu_);
  disk->folders_ = folders_;
  disk->next_inode_ = next_inode_;
  std::map<size_t, Entry> copies;
  const auto copy = [&copies](Entry* entry) {
    if (*entry == nullptr) return;
    Entry& made = copies[(*entry)->id];
    if (made == nullptr) made = std::make_shared<Inode>(**entry);
    *entry = made;
  };
  for (auto& [path, folder] : disk->folders_) {
    for (auto& [name, entry] : folder.seen) copy(&entry);
    for (auto& [name, entry] : folder.on_disk) copy(&entry);
    for (NameChange& change : folder.unsynced) copy(&change.entry);
  }
  return disk;
}

void ForEveryCrash(const std::function<void(CrashingFileSystem*)>& run,
                   const std::function<void(const Crash&)>& check) {
  CrashingFileSystem whole;
  run(&whole);
  const size_t operations = whole.operations();
  for (size_t n = 0; n <= operations; ++n) {
    for (const bool torn : {false, true}) {
      CrashingFileSystem disk;
      disk.CrashAt(n, torn);
      run(&disk);
      const std::string where =
          absl::StrCat("operation ", n, " of ", operations, torn ? " (torn)" : "");
      check({.disk = disk.AfterKill(), .power_cut = false, .text = "killed at " + where});
      if (torn) continue;  // of a power cut's choices are torn writes
      for (const CrashingFileSystem::PowerCut& cut : disk.PowerCuts()) {
        check({.disk = disk.AfterPowerCut(cut),
               .power_cut = true,
               .text = absl::StrCat("power cut at ", where, ", kept: ", absl::StrJoin(cut, " "))});
        if (testing::Test::HasFatalFailure()) return;
      }
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace gradwire
