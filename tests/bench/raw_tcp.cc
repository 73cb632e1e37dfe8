// SPDX-License-Identifier: Apache-2.0
// The smallest honest dense parameter server over plain sockets, as a reference for `round`: it
// reads one gradient from every worker, sums them, and sends the sum back; a worker applies it.
// No checks, no log, no second worker's failure, no codec.
//
//   raw_tcp server DIMENSION WORKERS WARM_UP ROUNDS        prints "listening on PORT"
//   raw_tcp worker DIMENSION PORT WARM_UP ROUNDS           prints as round_worker does
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kChunk = size_t{1} << 18;  // coordinates: 1 MiB

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::exit(1);
}

void SetUp(int socket) {
  const int one = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void ReadAll(int socket, void* to, size_t bytes) {
  auto* next = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t n = read(socket, next, bytes);
    if (n <= 0) Die("read");
    next += n;
    bytes -= static_cast<size_t>(n);
  }
}

void WriteAll(int socket, const void* from, size_t bytes) {
  const auto* next = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t n = write(socket, next, bytes);
    if (n <= 0) Die("write");
    next += n;
    bytes -= static_cast<size_t>(n);
  }
}

// A thread a worker: each reads its worker's gradient chunk by chunk and adds it to the sum
// (whoever is first at a chunk copies it); when all are done each sends the sum back.
class Server {
 public:
  Server(size_t dimension, int workers)
      : sum_(dimension),
        chunks_((dimension + kChunk - 1) / kChunk),
        locks_(chunks_),
        added_(chunks_),
        all_(workers) {}

  void Serve(int socket, int rounds) {
    std::vector<float> buffer(kChunk);
    for (int round = 0; round < rounds; ++round) {
      for (size_t chunk = 0; chunk < chunks_; ++chunk) AddChunk(socket, chunk, &buffer);
      all_.arrive_and_wait();
      WriteAll(socket, sum_.data(), sum_.size() * sizeof(float));
      all_.arrive_and_wait();
      for (size_t chunk = 0; chunk < chunks_; ++chunk) added_[chunk] = 0;
      all_.arrive_and_wait();
    }
  }

 private:
  void AddChunk(int socket, size_t chunk, std::vector<float>* buffer) {
    float* const sum = &sum_[chunk * kChunk];
    const size_t n = std::min(kChunk, sum_.size() - chunk * kChunk);
    ReadAll(socket, buffer->data(), n * sizeof(float));
    const std::lock_guard<std::mutex> lock(locks_[chunk]);
    if (added_[chunk]++ == 0) {
      std::copy_n(buffer->data(), n, sum);
    } else {
      for (size_t i = 0; i < n; ++i) sum[i] += (*buffer)[i];
    }
  }

  std::vector<float> sum_;
  const size_t chunks_;
  std::vector<std::mutex> locks_;  // by chunk
  std::vector<int> added_;
  std::barrier<> all_;
};

int RunServer(size_t dimension, int workers, int rounds) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, generic, length) != 0 || listen(listener, workers) != 0) Die("listen");
  getsockname(listener, generic, &length);
  std::cout << "listening on " << ntohs(address.sin_port) << std::endl;
  Server server(dimension, workers);
  std::vector<std::thread> threads;
  for (int i = 0; i < workers; ++i) {
    const int worker = accept(listener, nullptr, nullptr);
    if (worker < 0) Die("accept");
    SetUp(worker);
    threads.emplace_back([&server, worker, rounds] { server.Serve(worker, rounds); });
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

int RunWorker(size_t dimension, int port, int warm_up, int rounds) {
  const int server = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (connect(server, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Die("connect");
  SetUp(server);
  std::vector<float> gradient(dimension, 1e-4f);
  std::vector<float> sum(dimension);
  std::vector<float> parameters(dimension);
  double cpu = 0;
  std::string seconds;
  for (int round = -warm_up; round < rounds; ++round) {
    if (round == 0) {
      std::cout << "begin" << std::endl;
      cpu = CpuSeconds();
    }
    const auto begin = std::chrono::steady_clock::now();
    WriteAll(server, gradient.data(), dimension * sizeof(float));
    ReadAll(server, sum.data(), dimension * sizeof(float));
    for (size_t i = 0; i < dimension; ++i) parameters[i] -= 0.01f * sum[i];
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (round >= 0) seconds += (seconds.empty() ? "" : ", ") + std::to_string(took.count());
  }
  cpu = CpuSeconds() - cpu;
  std::cout << "end" << std::endl
            << "{\"rounds\": [" << seconds << "], \"cpu\": " << cpu << "}" << std::endl;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: raw_tcp server DIMENSION WORKERS WARM_UP ROUNDS\n"
                 "       raw_tcp worker DIMENSION PORT WARM_UP ROUNDS\n";
    return 2;
  }
  const size_t dimension = std::strtoul(argv[2], nullptr, 10);
  const int other = std::atoi(argv[3]);
  const int warm_up = std::atoi(argv[4]);
  const int rounds = std::atoi(argv[5]);
  return std::string(argv[1]) == "server" ? RunServer(dimension, other, warm_up + rounds)
                                          : RunWorker(dimension, other, warm_up, rounds);
}
