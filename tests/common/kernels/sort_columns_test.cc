// SPDX-License-Identifier: Apache-2.0
// Sorting of columns: every input of zeros and ones, which proves a network (Knuth, 5.3.4 Z), and
// hard floats against std::sort, under every target.
#include "common/kernels/sort_columns.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

using Table = std::vector<std::vector<float>>;  // by row

void Sort(Table* table, size_t offset, size_t n) {
  std::vector<float*> rows;
  for (std::vector<float>& row : *table) rows.push_back(row.data() + offset);
  SortColumns(rows.data(), rows.size(), n);
}

TEST(SortColumnsTest, SortsAllZerosAndOnes) {
  for (size_t count = 1; count <= 16; ++count) {
    SCOPED_TRACE(count);
    const size_t columns = size_t{1} << count;
    Table table(count, std::vector<float>(columns));
    for (size_t row = 0; row < count; ++row) {
      for (size_t i = 0; i < columns; ++i) table[row][i] = static_cast<float>(i >> row & 1);
    }
    Sort(&table, 0, columns);
    for (size_t i = 0; i < columns; ++i) {
      const auto zeros = count - static_cast<size_t>(__builtin_popcountll(i));
      for (size_t row = 0; row < count; ++row) ASSERT_EQ(table[row][i], row < zeros ? 0 : 1) << i;
    }
  }
}

TEST(SortColumnsTest, EveryTargetSortsHardValuesAndTouchesNoOthers) {
  constexpr float kNobodys = 42;
  for (const size_t count : {1, 2, 3, 5, 9, 17, 31, 100}) {
    for (const size_t n : TestSizes()) {
      const size_t offset = n % 4;
      Table given(count);
      for (size_t row = 0; row < count; ++row) {
        given[row] = HardValues(offset + n + 1, static_cast<uint32_t>(row + 1));
        given[row][offset + n] = kNobodys;
      }
      Table want = given;
      for (size_t i = offset; i < offset + n; ++i) {
        std::vector<float> column;
        for (const std::vector<float>& row : given) column.push_back(row[i]);
        std::sort(column.begin(), column.end(), [](float a, float b) {
          return a < b || (a == b && std::signbit(a) && !std::signbit(b));
        });
        for (size_t row = 0; row < count; ++row) want[row][i] = column[row];
      }
      ForEachTarget([&] {
        Table table = given;
        Sort(&table, offset, n);
        for (size_t row = 0; row < count; ++row) {
          ASSERT_EQ(BitsOf(table[row]), BitsOf(want[row])) << count << " rows, " << n;
        }
      });
    }
  }
}

}  // namespace
}  // namespace gradwire
