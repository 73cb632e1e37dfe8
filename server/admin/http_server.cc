// SPDX-License-Identifier: Apache-2.0
// Implementation of http_server.h.
#include "server/admin/http_server.h"

#include <civetweb.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

// The page may load its own files and nothing else; nobody may frame it.
constexpr char kSecurityHeaders[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cache-Control: no-store\r\n"
    "Connection: close\r\n";

const char* Reason(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    default:
      return "Service Unavailable";
  }
}

bool Write(mg_connection* connection, absl::string_view bytes) {
  return mg_write(connection, bytes.data(), bytes.size()) == static_cast<int>(bytes.size());
}

}  // namespace

absl::StatusOr<std::string> ParseHttpListen(absl::string_view text) {
  const size_t colon = text.rfind(':');
  const absl::string_view port = colon == absl::string_view::npos ? text : text.substr(colon + 1);
  const absl::string_view host =
      colon == absl::string_view::npos ? "127.0.0.1" : text.substr(0, colon);
  const absl::string_view bare = absl::StripSuffix(absl::StripPrefix(host, "["), "]");
  const bool is_ipv6 = bare.size() + 2 == host.size();
  uint32_t number = 0;
  // CivetWeb gives other characters a meaning of its own, as commas and a last "s".
  const auto fits = [is_ipv6](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || (is_ipv6 && c == ':');
  };
  const bool digits = !port.empty() && port.find_first_not_of("0123456789") == port.npos;
  if (!digits || !absl::SimpleAtoi(port, &number) || number > 65535 || bare.empty() ||
      !std::all_of(bare.begin(), bare.end(), fits)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--http_listen=", text,
                     ": HOST:PORT, [IPV6]:PORT or a port from 0 to 65535 is needed, as in "
                     "127.0.0.1:9090"));
  }
  return absl::StrCat(host, ":", number);
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options,
                                                              Site* site) {
  static const unsigned features = mg_init_library(0);  // once in a process
  (void)features;
  std::unique_ptr<HttpServer> server(new HttpServer(options, site));
  GRADWIRE_RETURN_IF_ERROR(server->Listen());
  return server;
}

absl::Status HttpServer::Listen() {
  const std::string threads = absl::StrCat(options_.threads);
  const std::string bytes = absl::StrCat(options_.max_request_bytes);
  const std::string timeout = absl::StrCat(absl::ToInt64Milliseconds(options_.request_timeout));
  const std::array<const char*, 15> settings = {"listening_ports",
                                                options_.listen.c_str(),
                                                "num_threads",
                                                threads.c_str(),
                                                "max_request_size",
                                                bytes.c_str(),
                                                "request_timeout_ms",
                                                timeout.c_str(),
                                                "connection_queue",
                                                "16",
                                                "listen_backlog",
                                                "64",
                                                "enable_keep_alive",
                                                "no",
                                                nullptr};
  mg_callbacks callbacks = {};
  callbacks.begin_request = OnRequest;
  callbacks.log_message = OnLog;
  mg_init_data init = {};
  init.callbacks = &callbacks;
  init.user_data = this;
  init.configuration_options = const_cast<const char**>(settings.data());
  std::array<char, 256> text = {};
  mg_error_data error = {};
  error.text = text.data();
  error.text_buffer_size = text.size();
  context_ = mg_start2(&init, &error);
  if (context_ == nullptr) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen on \"", options_.listen, "\" for HTTP (", text.data(),
        "): the port is taken or the address is not this machine's; choose another with "
        "--http_listen=HOST:PORT"));
  }
  mg_server_port port = {};
  mg_get_server_ports(context_, 1, &port);
  address_ = absl::StrCat(options_.listen.substr(0, options_.listen.rfind(':')), ":", port.port);
  return absl::OkStatus();
}

HttpServer::~HttpServer() {
  {
    MutexLock lock(&mu_);
    ending_ = true;
  }
  changed_.NotifyAll();
  {
    MutexLock lock(&mu_);  // mg_stop would cut off what the streams have to say at the end
    while (streams_ > 0) changed_.Wait(&mu_);
  }
  if (context_ != nullptr) mg_stop(context_);
}

int HttpServer::OnLog(const mg_connection* /*connection*/, const char* message) {
  // A line a second: what CivetWeb says of a hostile peer must not fill the disk.
  static std::atomic<int64_t> next{0};
  const int64_t now = absl::ToInt64Seconds(SteadyClock().Now());
  if (now >= next.exchange(now + 1)) LogWarning(absl::StrCat("http: ", message));
  return 1;  // it is said
}

int HttpServer::OnRequest(mg_connection* connection) {
  const mg_request_info* request = mg_get_request_info(connection);
  auto* server = static_cast<HttpServer*>(request->user_data);
  const absl::string_view method = request->request_method;
  const absl::string_view path = request->local_uri == nullptr ? "" : request->local_uri;
  if (method != "GET" && method != "HEAD") {
    server->Answer(connection, {.code = 405, .body = "only GET and HEAD\n"}, true,
                   "Allow: GET, HEAD\r\n");
  } else if (path == "/api/events" && method == "GET") {
    server->Stream(connection);
  } else {
    server->Answer(connection, server->site_->Get(path), method == "GET");
  }
  return 1;  // answered
}

void HttpServer::Answer(mg_connection* connection, const HttpAnswer& answer, bool with_body,
                        absl::string_view headers) const {
  const std::string head = absl::StrCat(
      "HTTP/1.1 ", answer.code, " ", Reason(answer.code), "\r\nContent-Type: ", answer.type,
      "\r\nContent-Length: ", answer.body.size(), "\r\n", headers, kSecurityHeaders, "\r\n");
  Write(connection, with_body ? head + answer.body : head);
}

bool HttpServer::BeginStream() {
  MutexLock lock(&mu_);
  if (ending_ || streams_ >= options_.max_streams) return false;
  ++streams_;
  return true;
}

bool HttpServer::WaitForEnd(absl::Duration time) {
  const absl::Duration until = SteadyClock().Now() + time;
  MutexLock lock(&mu_);
  while (!ending_ && SteadyClock().Now() < until) {
    changed_.WaitFor(&mu_, until - SteadyClock().Now());
  }
  return ending_;
}

void HttpServer::Stream(mg_connection* connection) {
  if (!BeginStream()) {
    return Answer(connection, {.code = 503, .body = "too many watch already: try later\n"}, true,
                  "Retry-After: 5\r\n");
  }
  EventFeed feed(site_);
  bool good = Write(connection, absl::StrCat("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream",
                                             "\r\n", kSecurityHeaders, "\r\n"));
  for (bool end = false; good && !end;) {
    end = WaitForEnd(feed.pause());
    good = Write(connection, feed.Next(end));
  }
  MutexLock lock(&mu_);
  --streams_;
  changed_.NotifyAll();
}

}  // namespace gradwire
