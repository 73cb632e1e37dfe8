// SPDX-License-Identifier: Apache-2.0
// A parameter server in this process: its services on a port, its clock, its end.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/thread_pool.h"
#include "common/replica/job.h"
#include "server/coordinator.h"
#include "server/counters.h"
#include "server/security.h"
#include "server/service.h"

namespace gradwire {

struct ServerOptions {
  std::string listen = "127.0.0.1:7070";  // port 0 picks a free one
  SecurityOptions security = {};          // TLS, tokens
  HistoryOptions history;                 // state directory, fsync, what is kept
  size_t threads = 2;
  ModelSenderOptions models;               // how fast snapshots are sent, and to how many
  size_t stream_window = size_t{2} << 20;  // bytes a worker may send ahead
};

class Server {
 public:
  // Serves when it returns.  Unavailable: the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options,
                                                       std::shared_ptr<const Job> job);
  // Ends what still runs, without ceremony.
  ~Server();

  const std::string& address() const { return address_; }  // with the port in use
  Coordinator& coordinator() { return *coordinator_; }
  const ServerCounters& counters() const { return counters_; }
  Security::Stats security() const { return security_->stats(); }

  // Stops serving: not-serving to health checks, then no new calls, then at most `grace`
  // for those that run.
  void Shutdown(absl::Duration grace);

 private:
  explicit Server(ServerOptions options)
      : options_(std::move(options)), pool_(options_.threads, 65536) {}
  absl::Status Listen();
  void TickLoop();
  // What TLS and tokens count, for whoever reads the counters.
  void NoteSecurity();

  const ServerOptions options_;
  SteadyClock clock_;
  ServerCounters counters_;
  std::unique_ptr<Security> security_;
  std::unique_ptr<Coordinator> coordinator_;
  ThreadPool pool_;
  std::unique_ptr<ParameterService> parameter_service_;
  std::unique_ptr<AdminService> admin_service_;
  std::unique_ptr<grpc::Server> grpc_server_;
  std::string address_;
  std::atomic<bool> stopping_{false};
  std::thread ticker_;
};

}  // namespace gradwire
