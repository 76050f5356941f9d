// What a JSON value may be, as data: from it follow the check of requests and the OpenAPI document.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace ingot::answers {

struct Property;

// A type with its bounds. Made by the functions below, refined by its members:
//   Integer(0, 20).Describe("alternatives besides the chosen token").Default(0)
struct Schema {
  enum class Type : uint8_t { kAny, kNull, kBoolean, kInteger, kNumber, kString, kArray, kObject, kAnyOf };

  Type type = Type::kAny;
  std::string name;  // of a component of the document; "": written where it is used
  std::string description;
  boost::json::value default_value;  // null: none
  boost::json::value example;        // null: none
  bool nullable = false;
  // Why a value that does not fit is refused, where it is something that others can do: then it is kUnsupported.
  std::string unsupported;

  double minimum = 0, maximum = 0;           // kNumber, and where integers are bounded
  int64_t min_integer = 0, max_integer = 0;  // kInteger
  size_t min_size = 0, max_size = 0;         // characters of a string, items of an array, members of an object
  std::vector<std::string> values;           // kString: one of these; empty: any
  std::optional<bool> only_boolean;          // kBoolean
  std::shared_ptr<const Schema> items;       // kArray
  std::vector<Property> properties;          // kObject; others are ignored, and dropped from a body
  std::shared_ptr<const Schema> additional;  // kObject: what other members must be; null: anything
  // kObject: one of these members is needed, and where only_one, no second of them is taken.
  std::vector<std::string> needs_one_of;
  bool only_one = false;
  std::vector<Schema> alternatives;  // kAnyOf

  Schema Describe(std::string text) &&;
  Schema Default(boost::json::value value) &&;
  Schema Example(boost::json::value value) &&;
  Schema Nullable() &&;
  Schema Named(std::string component) &&;
  Schema OrUnsupported(std::string why) &&;
  Schema NeedsOneOf(std::vector<std::string> members, bool only_one) &&;
};

struct Property {
  std::string name;
  Schema schema;
  bool required = false;
};

// Keys, strings, lists and objects of a body: no request needs so many, and each takes far more memory than text.
inline constexpr size_t kMaxBodyParts = size_t{1} << 20;
inline constexpr size_t kMaxText = size_t{4} << 20;  // characters of a prompt or a message

Schema Any();
Schema Null();
Schema Boolean();
Schema Only(bool value);
Schema Integer(int64_t min, int64_t max);
Schema Number(double min, double max);
Schema String(size_t min_length, size_t max_length);
Schema OneOf(std::vector<std::string> values);
Schema Array(Schema items, size_t min_items, size_t max_items);
Schema Object(std::vector<Property> properties);
Schema Map(Schema values, size_t max_members);  // any keys
Schema AnyOf(std::vector<Schema> alternatives);

// An error with the field it is about ("messages", "stop[1]"; "" for the whole body).
struct FieldError {
  std::string param;
  Status status;
  std::string code = {};  // on the wire; "": what the status says
};

// The first field that does not fit, its value and what would; nullopt when all fits. Fields that are null count as
// absent, unless null is a value that the schema names.
std::optional<FieldError> Check(const Schema& schema, const JsonView& value);

// Parses a body and checks it. An object of which the schema vouches for every member: those that it does not name are
// dropped, there and in the objects that are its members, so that nothing can be read that was not checked. Objects in
// lists keep theirs: chat templates read what they like of a message.
tl::expected<boost::json::value, FieldError> ParseBody(std::string_view body, const Schema& schema);

// As JSON Schema 2020-12. Named parts become references, and are added to `components` once.
std::string JsonSchema(const Schema& schema, std::vector<const Schema*>* components);
// The part itself, not a reference to it.
std::string JsonComponent(const Schema& schema, std::vector<const Schema*>* components);

}  // namespace ingot::answers
