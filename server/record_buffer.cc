// SPDX-License-Identifier: Apache-2.0
// Implementation of record_buffer.h.
#include "server/record_buffer.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/slice.h>

#include "gradwire/v1/service.pb.h"

namespace gradwire {

grpc::ByteBuffer PartBuffer(std::shared_ptr<const Record> record, size_t part) {
  using google::protobuf::internal::WireFormatLite;
  using google::protobuf::io::CodedOutputStream;
  const std::string& bytes = record->parts[part];
  uint8_t prefix[16];
  uint8_t* end = CodedOutputStream::WriteTagToArray(
      WireFormatLite::MakeTag(v1::TrainResponse::kUpdatePartFieldNumber,
                              WireFormatLite::WIRETYPE_LENGTH_DELIMITED),
      prefix);
  end = CodedOutputStream::WriteVarint64ToArray(bytes.size(), end);
  auto* owner = new std::shared_ptr<const Record>(std::move(record));
  const grpc::Slice slices[] = {
      grpc::Slice(prefix, static_cast<size_t>(end - prefix)),
      grpc::Slice(
          const_cast<char*>(bytes.data()), bytes.size(),
          [](void* o) { delete static_cast<std::shared_ptr<const Record>*>(o); }, owner),
  };
  return grpc::ByteBuffer(slices, 2);
}

}  // namespace gradwire
