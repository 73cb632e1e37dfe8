// SPDX-License-Identifier: Apache-2.0
// Bytes of fields, against those of protobuf's own writer and by hand.
#include "common/base/wire_writer.h"

#include <google/protobuf/io/coded_stream.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace gradwire {
namespace {

TEST(WireWriterTest, WritesNumbersAsProtobufDoesAndNoZero) {
  for (int bits = 0; bits < 64; ++bits) {
    for (const uint64_t value : {uint64_t{1} << bits, (uint64_t{1} << bits) - 1, ~uint64_t{0}}) {
      std::string ours;
      AppendNumberField(1000, value, &ours);
      uint8_t bytes[20];
      uint8_t* end =
          google::protobuf::io::CodedOutputStream::WriteVarint32ToArray(1000 << 3, bytes);
      end = google::protobuf::io::CodedOutputStream::WriteVarint64ToArray(value, end);
      const std::string theirs(reinterpret_cast<char*>(bytes), static_cast<size_t>(end - bytes));
      EXPECT_EQ(ours, value == 0 ? "" : theirs) << value;
    }
  }
}

TEST(WireWriterTest, WritesTagAndLengthOfBytesEvenOfNone) {
  std::string out = "x";
  AppendBytesHead(2, 150, &out);
  AppendBytesHead(5, 0, &out);
  EXPECT_EQ(out, std::string("x\x12\x96\x01\x2a\x00", 6));
}

}  // namespace
}  // namespace gradwire
