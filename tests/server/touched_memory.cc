// SPDX-License-Identifier: Apache-2.0
// Implementation of touched_memory.h, with the program's operator new and delete.
#include "tests/server/touched_memory.h"

#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "common/base/mutex.h"

namespace gradwire {
namespace {

constexpr size_t kPage = TouchedMemory::kPage;
constexpr size_t kMaxMappings = 1024;

struct Mapping {
  uintptr_t begin = 0;  // 0: this place is free
  size_t size = 0;      // whole pages
};

// Without allocations, and never destroyed: operator new is called before and after everything.
Mapping mappings[kMaxMappings];
Mutex* MappingsMutex() {
  alignas(Mutex) static char storage[sizeof(Mutex)];
  static Mutex* const mutex = new (storage) Mutex;
  return mutex;
}
std::atomic<size_t> touched{0};

size_t WholePages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

void* MapLarge(size_t bytes) {
  const size_t size = WholePages(bytes);
  void* const memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  MutexLock lock(MappingsMutex());
  for (Mapping& place : mappings) {
    if (place.begin != 0) continue;
    place = {.begin = reinterpret_cast<uintptr_t>(memory), .size = size};
    return memory;
  }
  std::abort();  // more than any test here needs
}

bool UnmapLarge(void* memory) {
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  if (begin == 0 || begin % kPage != 0) return false;
  MutexLock lock(MappingsMutex());
  for (Mapping& place : mappings) {
    if (place.begin != begin) continue;
    munmap(memory, place.size);
    place = {};
    return true;
  }
  return false;
}

// In the thread that touched the page; takes no lock, for the thread may hold it.
void OnFault(int signal_number, siginfo_t* info, void* /*context*/) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const Mapping& place : mappings) {
    if (place.begin == 0 || address < place.begin || address >= place.begin + place.size) continue;
    mprotect(reinterpret_cast<void*>(address / kPage * kPage), kPage, PROT_READ | PROT_WRITE);
    touched.fetch_add(1);
    return;
  }
  signal(signal_number, SIG_DFL);  // a real one: it comes again, and ends the program
}

void Protect(int protection) {
  MutexLock lock(MappingsMutex());
  for (const Mapping& place : mappings) {
    if (place.begin == 0) continue;
    mprotect(reinterpret_cast<void*>(place.begin), place.size, protection);
  }
}

}  // namespace

void TouchedMemory::Start() {
  struct sigaction action = {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
  touched = 0;
  Protect(PROT_NONE);
}

size_t TouchedMemory::Stop() {
  Protect(PROT_READ | PROT_WRITE);
  signal(SIGSEGV, SIG_DFL);
  return touched;
}

size_t TouchedMemory::pages() {
  MutexLock lock(MappingsMutex());
  size_t pages = 0;
  for (const Mapping& place : mappings) pages += place.size / kPage;
  return pages;
}

}  // namespace gradwire

void* operator new(size_t bytes) {
  if (bytes >= gradwire::TouchedMemory::kLeastCounted) return gradwire::MapLarge(bytes);
  void* const memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept {
  if (!gradwire::UnmapLarge(memory)) std::free(memory);
}

void operator delete(void* memory, size_t /*bytes*/) noexcept { operator delete(memory); }
