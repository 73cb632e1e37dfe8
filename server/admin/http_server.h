// SPDX-License-Identifier: Apache-2.0
// A Site on a port, over CivetWeb: bounded in threads, streams, request sizes and time.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "server/admin/site.h"

struct mg_connection;
struct mg_context;

namespace gradwire {

struct HttpServerOptions {
  std::string listen;   // HOST:PORT; port 0 picks a free one
  int threads = 12;     // a connection has one as long as it lasts
  int max_streams = 8;  // of /api/events: the others remain for short questions
  int max_request_bytes = 8192;
  absl::Duration request_timeout = absl::Seconds(5);  // for a request to come, an answer to go
};

// "HOST:PORT", "[IPV6]:PORT", or a port alone, on the loopback address then.  InvalidArgument.
absl::StatusOr<std::string> ParseHttpListen(absl::string_view text);

class HttpServer {
 public:
  // Serves when it returns.  `site` must outlive it.  Unavailable: the address cannot be had.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options,
                                                           Site* site);
  // Tells every reader of events that it ends, and waits for the threads: at most about
  // request_timeout.
  ~HttpServer();

  const std::string& address() const { return address_; }  // with the port in use

 private:
  HttpServer(const HttpServerOptions& options, Site* site) : options_(options), site_(site) {}
  static int OnRequest(mg_connection* connection);
  static int OnLog(const mg_connection* connection, const char* message);
  absl::Status Listen();
  void Answer(mg_connection* connection, const HttpAnswer& answer, bool with_body,
              absl::string_view headers = "") const;
  void Stream(mg_connection* connection) ABSL_LOCKS_EXCLUDED(mu_);
  // False: there are too many.
  bool BeginStream() ABSL_LOCKS_EXCLUDED(mu_);
  // Until it is time for the next piece, or the end; true at the end.
  bool WaitForEnd(absl::Duration time) ABSL_LOCKS_EXCLUDED(mu_);

  const HttpServerOptions options_;
  Site* const site_;
  mg_context* context_ = nullptr;
  std::string address_;

  Mutex mu_;
  CondVar changed_;
  bool ending_ ABSL_GUARDED_BY(mu_) = false;
  int streams_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace gradwire
