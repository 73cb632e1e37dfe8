// SPDX-License-Identifier: Apache-2.0
// Certificates of gradwire certs in a folder of the test's own.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "common/rpc/tls_files.h"
#include "server/ctl/certs.h"

namespace gradwire {

inline std::string ReadText(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

inline void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

// A new folder with the certificates of an authority of its own.
inline std::string MakeTestCerts(const std::string& name, absl::Duration valid = absl::Hours(24)) {
  const std::string folder = testing::TempDir() + "/gradwire_certs_" + name;
  std::filesystem::remove_all(folder);
  testing::internal::CaptureStdout();
  const absl::Status made =
      MakeCerts({.out = folder, .hosts = {"127.0.0.1"}, .workers = {"w"}, .valid = valid});
  testing::internal::GetCapturedStdout();
  EXPECT_TRUE(made.ok()) << made;
  return folder;
}

inline TlsPaths PathsIn(const std::string& folder, const std::string& name = "server") {
  return {.certificate = folder + "/" + name + ".crt",
          .key = folder + "/" + name + ".key",
          .authorities = folder + "/ca.crt"};
}

}  // namespace gradwire
