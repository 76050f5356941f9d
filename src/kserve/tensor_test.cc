#include "kserve/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ingot::kserve {
namespace {

using ::testing::HasSubstr;

TEST(TensorTest, EveryTypeReadsWhatItWrote) {
  const struct {
    DataType type;
    boost::json::array values;
  } kCases[] = {{DataType::kBool, {true, false}},
                {DataType::kUint8, {0, 255}},
                {DataType::kUint16, {1, 65535}},
                {DataType::kUint32, {1, 4294967295}},
                {DataType::kUint64, {1, 18446744073709551615U}},
                {DataType::kInt8, {-128, 127}},
                {DataType::kInt16, {-32768, 32767}},
                {DataType::kInt32, {-5, 2147483647}},
                {DataType::kInt64, {-5, 9007199254740993}},
                {DataType::kFp32, {0.7, -1.5}},
                {DataType::kFp64, {0.1, 1e300}},
                {DataType::kBytes, {"", "gr\xC3\xBC\xC3\x9F"}}};
  for (const auto& one : kCases) {
    Tensor tensor{"x", one.type, {2}, {}};
    ASSERT_TRUE(AppendValues(one.values, &tensor).ok()) << NameOf(one.type);
    ASSERT_TRUE(CheckData(tensor).ok()) << NameOf(one.type);
    EXPECT_EQ(*Values(tensor), one.values) << NameOf(one.type);
    EXPECT_EQ(FindDataType(NameOf(one.type)), one.type);
  }
}

TEST(TensorTest, DataThatDoesNotFitIsRefused) {
  const auto error = [](DataType type, std::vector<int64_t> shape, std::string data) {
    return CheckData({"x", type, std::move(shape), std::move(data)}).message();
  };
  EXPECT_EQ(error(DataType::kInt32, {2}, std::string(7, 'a')),
            "input 'x': INT32 of shape [2] takes 8 bytes, 7 are given");
  EXPECT_THAT(error(DataType::kInt32, {-1}, ""), HasSubstr("dimension"));
  EXPECT_THAT(error(DataType::kInt8, {int64_t{1} << 40, int64_t{1} << 40}, ""), HasSubstr("elements"));
  EXPECT_THAT(error(DataType::kInt8, {0, int64_t{1} << 62}, ""), HasSubstr("elements"));
  EXPECT_THAT(error(DataType::kBytes, {1}, std::string("\5\0\0\0abcd", 8)), HasSubstr("passes the end"));
  EXPECT_THAT(error(DataType::kBytes, {1}, std::string("\xFF\xFF\xFF\xFF", 4)), HasSubstr("passes the end"));
  EXPECT_THAT(error(DataType::kBytes, {1}, std::string(8, '\0')), HasSubstr("has 1 elements, the data has 2"));
}

TEST(TensorTest, ValuesOutsideTheTypeAreRefused) {
  Tensor tensor{"x", DataType::kUint8, {1}, {}};
  EXPECT_THAT(AppendValues({256}, &tensor).message(), HasSubstr("data[0] is 256, outside 0…255"));
  EXPECT_FALSE(AppendValues({"a"}, &tensor).ok());
  tensor.type = DataType::kFp16;
  EXPECT_THAT(AppendValues({1.0}, &tensor).message(), HasSubstr("binary"));
  const std::string bad("\1\0\0\0\xFF", 5);
  EXPECT_THAT(Values({"x", DataType::kBytes, {1}, bad}).error().message(), HasSubstr("UTF-8"));
}

}  // namespace
}  // namespace ingot::kserve
