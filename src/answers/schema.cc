#include "answers/schema.h"

#include <algorithm>
#include <cmath>

#include "text/utf8.h"

namespace ingot::answers {
namespace {

std::string Quoted(const boost::json::value& value) {
  std::string text;
  if (value.is_string()) {
    AppendJsonString(text, std::string_view(value.get_string()).substr(0, 64));
  } else if (value.is_double() && !std::isfinite(value.get_double())) {
    text = "not a finite number";
  } else if (value.is_double()) {
    AppendJsonNumber(text, value.get_double());
  } else if (value.is_int64()) {
    text = std::to_string(value.get_int64());
  } else if (value.is_uint64()) {
    text = std::to_string(value.get_uint64());
  } else if (value.is_bool()) {
    text = value.get_bool() ? "true" : "false";
  } else {
    text = value.is_null() ? "null" : value.is_array() ? "an array" : "an object";
  }
  return text;
}

constexpr const char* kInvalidType = "invalid_type";

const char* TypeName(Schema::Type type) {
  switch (type) {
    case Schema::Type::kNull:
      return "null";
    case Schema::Type::kBoolean:
      return "true or false";
    case Schema::Type::kInteger:
      return "a whole number";
    case Schema::Type::kNumber:
      return "a number";
    case Schema::Type::kString:
      return "a string";
    case Schema::Type::kArray:
      return "an array";
    case Schema::Type::kObject:
      return "an object";
    default:
      return "something else";
  }
}

// "body: messages[0].role" → "messages[0].role"
std::string ParamOf(const JsonView& value) {
  const size_t colon = value.path().find(": ");
  return colon == std::string::npos ? "" : value.path().substr(colon + 2);
}

FieldError Fail(const Schema& schema, const JsonView& value, std::string message) {
  std::string param = ParamOf(value);
  if (!schema.unsupported.empty()) return {param, Status(Code::kUnsupported, param + ": " + schema.unsupported)};
  const std::string subject = param.empty() ? "the body" : param;
  return {std::move(param), Status(Code::kInvalidArgument, subject + " " + message)};
}

FieldError WrongType(const Schema& schema, const JsonView& value, const std::string& types) {
  FieldError error = Fail(schema, value, fmt::format("must be {}, and is {}", types, Quoted(value.value())));
  if (error.status.code() == Code::kInvalidArgument) error.code = kInvalidType;
  return error;
}
FieldError WrongType(const Schema& schema, const JsonView& value) {
  return WrongType(schema, value, TypeName(schema.type));
}

FieldError Missing(const JsonView& object, const std::string& name, const std::string& hint = "") {
  const std::string param = ParamOf(object).empty() ? name : ParamOf(object) + "." + name;
  return {param, InvalidArgument("{} is missing{}", param, hint).value(), "missing_required_parameter"};
}

using MaybeError = std::optional<FieldError>;

const Property* FindProperty(const Schema& schema, std::string_view name) {
  const auto found = std::ranges::find(schema.properties, name, &Property::name);
  return found == schema.properties.end() ? nullptr : &*found;
}

MaybeError CheckBoolean(const Schema& schema, const JsonView& value) {
  if (!value.value().is_bool()) return WrongType(schema, value);
  if (!schema.only_boolean || *schema.only_boolean == value.value().get_bool()) return std::nullopt;
  return Fail(schema, value, fmt::format("must be {}", *schema.only_boolean));
}

MaybeError CheckInteger(const Schema& schema, const JsonView& value) {
  const auto number = value.AsInt();
  const bool is_number = value.value().is_number();
  if (!number && !is_number) return WrongType(schema, value);
  if (number && *number >= schema.min_integer && *number <= schema.max_integer) return std::nullopt;
  if (!number && value.value().is_double() && std::floor(value.value().get_double()) != value.value().get_double()) {
    return WrongType(schema, value);
  }
  return Fail(schema, value,
              fmt::format("is {}, outside {}…{}", Quoted(value.value()), schema.min_integer, schema.max_integer));
}

MaybeError CheckNumber(const Schema& schema, const JsonView& value) {
  if (!value.value().is_number()) return WrongType(schema, value);
  const double number = value.AsDouble().value_or(NAN);
  if (number >= schema.minimum && number <= schema.maximum) return std::nullopt;
  return Fail(schema, value,
              fmt::format("is {}, outside {}…{}", Quoted(value.value()), schema.minimum, schema.maximum));
}

MaybeError CheckString(const Schema& schema, const JsonView& value) {
  if (!value.value().is_string()) return WrongType(schema, value);
  const std::string_view text = value.value().get_string();
  if (!schema.values.empty()) {
    if (std::ranges::find(schema.values, text) != schema.values.end()) return std::nullopt;
    return Fail(schema, value,
                fmt::format("is {}; it must be one of {}", Quoted(value.value()), fmt::join(schema.values, ", ")));
  }
  const size_t length = CountCharacters(text);
  if (length >= schema.min_size && length <= schema.max_size) return std::nullopt;
  return Fail(schema, value, fmt::format("has {} characters, outside {}…{}", length, schema.min_size, schema.max_size));
}

MaybeError CheckArray(const Schema& schema, const JsonView& value) {
  const auto array = value.AsArray();
  if (!array) return WrongType(schema, value);
  const size_t size = (*array)->size();
  if (size < schema.min_size || size > schema.max_size) {
    return Fail(schema, value, fmt::format("has {} entries, outside {}…{}", size, schema.min_size, schema.max_size));
  }
  for (size_t i = 0; i < size; ++i) {
    if (MaybeError error = Check(*schema.items, value.At(i))) return error;
  }
  return std::nullopt;
}

// Whether the object has the member, as JSON Schema's "required" counts it: null only where it is a value.
bool HasMember(const Schema& schema, const boost::json::object& object, const std::string& name) {
  const boost::json::value* member = object.if_contains(name);
  return member != nullptr && (!member->is_null() || FindProperty(schema, name)->schema.nullable);
}

MaybeError CheckNeeds(const Schema& schema, const JsonView& value) {
  const std::vector<std::string>& names = schema.needs_one_of;
  if (names.empty()) return std::nullopt;
  const auto count = std::ranges::count_if(
      names, [&](const std::string& name) { return HasMember(schema, value.value().get_object(), name); });
  if (count == 0) return Missing(value, names[0], fmt::format("; one is needed of {}", fmt::join(names, ", ")));
  if (count == 1 || !schema.only_one) return std::nullopt;
  return FieldError{names[0], InvalidArgument("give one of {}, not {}", fmt::join(names, ", "), count).value()};
}

MaybeError CheckObject(const Schema& schema, const JsonView& value) {
  const auto object = value.AsObject();
  if (!object) return WrongType(schema, value);
  for (const Property& property : schema.properties) {
    const auto member = value.Find(property.name);
    if (!member) {
      const boost::json::value* raw = (*object)->if_contains(property.name);
      const bool is_missing = property.required && !(raw != nullptr && property.schema.nullable);
      if (!is_missing) continue;
      return Missing(value, property.name);
    }
    if (MaybeError error = Check(property.schema, *member)) return error;
  }
  if (auto error = CheckNeeds(schema, value)) return error;
  if (!schema.additional) return std::nullopt;
  if ((*object)->size() > schema.max_size) {
    return Fail(schema, value, fmt::format("has {} members, at most {} are taken", (*object)->size(), schema.max_size));
  }
  for (const auto& member : **object) {
    const auto view = value.Get(member.key());
    if (!view)
      return WrongType(*schema.additional,
                       JsonView(member.value(), fmt::format("{}.{}", value.path(), std::string_view(member.key()))));
    if (MaybeError error = Check(*schema.additional, *view)) return error;
  }
  return std::nullopt;
}

// Of the alternatives, the error of the first whose type fits says most; better still when all types within fit.
MaybeError CheckAnyOf(const Schema& schema, const JsonView& value) {
  MaybeError closest;
  std::string types;
  for (const Schema& alternative : schema.alternatives) {
    MaybeError error = Check(alternative, value);
    if (!error) return std::nullopt;
    const auto kind = value.value().kind();
    const bool type_fits = (alternative.type == Schema::Type::kString && kind == boost::json::kind::string) ||
                           (alternative.type == Schema::Type::kArray && kind == boost::json::kind::array) ||
                           (alternative.type == Schema::Type::kObject && kind == boost::json::kind::object);
    const bool only_bounds = error->code != kInvalidType;
    if (type_fits && (!closest || (closest->code == kInvalidType && only_bounds))) closest = std::move(error);
    const std::string type = TypeName(alternative.type);
    if (types.find(type) == std::string::npos) types += (types.empty() ? "" : " or ") + type;
  }
  if (closest && schema.unsupported.empty()) return closest;
  return WrongType(schema, value, types);
}

void DropUndeclared(const Schema& schema, boost::json::object* object) {
  for (auto it = object->begin(); it != object->end();) {
    const Property* property = FindProperty(schema, it->key());
    if (property == nullptr) {
      it = object->erase(it);
      continue;
    }
    const bool is_open = property->schema.additional != nullptr;
    if (property->schema.type == Schema::Type::kObject && !is_open && it->value().is_object()) {
      DropUndeclared(property->schema, &it->value().get_object());
    }
    ++it;
  }
}

}  // namespace

Schema Schema::Describe(std::string text) && {
  description = std::move(text);
  return std::move(*this);
}
Schema Schema::Default(boost::json::value value) && {
  default_value = std::move(value);
  return std::move(*this);
}
Schema Schema::Example(boost::json::value value) && {
  example = std::move(value);
  return std::move(*this);
}
Schema Schema::Nullable() && {
  nullable = true;
  return std::move(*this);
}
Schema Schema::Named(std::string component) && {
  name = std::move(component);
  return std::move(*this);
}
Schema Schema::OrUnsupported(std::string why) && {
  unsupported = std::move(why);
  return std::move(*this);
}
Schema Schema::NeedsOneOf(std::vector<std::string> members, bool one) && {
  needs_one_of = std::move(members);
  only_one = one;
  return std::move(*this);
}

Schema Any() { return {}; }
Schema Null() { return {.type = Schema::Type::kNull}; }
Schema Boolean() { return {.type = Schema::Type::kBoolean}; }
Schema Only(bool value) { return {.type = Schema::Type::kBoolean, .only_boolean = value}; }
Schema Integer(int64_t min, int64_t max) {
  return {.type = Schema::Type::kInteger, .min_integer = min, .max_integer = max};
}
Schema Number(double min, double max) { return {.type = Schema::Type::kNumber, .minimum = min, .maximum = max}; }
Schema String(size_t min_length, size_t max_length) {
  return {.type = Schema::Type::kString, .min_size = min_length, .max_size = max_length};
}
Schema OneOf(std::vector<std::string> values) { return {.type = Schema::Type::kString, .values = std::move(values)}; }
Schema Array(Schema items, size_t min_items, size_t max_items) {
  return {.type = Schema::Type::kArray,
          .min_size = min_items,
          .max_size = max_items,
          .items = std::make_shared<const Schema>(std::move(items))};
}
Schema Object(std::vector<Property> properties) {
  return {.type = Schema::Type::kObject, .properties = std::move(properties)};
}
Schema Map(Schema values, size_t max_members) {
  return {.type = Schema::Type::kObject,
          .max_size = max_members,
          .additional = std::make_shared<const Schema>(std::move(values))};
}
Schema AnyOf(std::vector<Schema> alternatives) {
  return {.type = Schema::Type::kAnyOf, .alternatives = std::move(alternatives)};
}

std::optional<FieldError> Check(const Schema& schema, const JsonView& value) {
  if (value.value().is_null() && schema.nullable) return std::nullopt;
  switch (schema.type) {
    case Schema::Type::kAny:
      return std::nullopt;
    case Schema::Type::kNull:
      return value.value().is_null() ? std::nullopt : MaybeError(WrongType(schema, value));
    case Schema::Type::kBoolean:
      return CheckBoolean(schema, value);
    case Schema::Type::kInteger:
      return CheckInteger(schema, value);
    case Schema::Type::kNumber:
      return CheckNumber(schema, value);
    case Schema::Type::kString:
      return CheckString(schema, value);
    case Schema::Type::kArray:
      return CheckArray(schema, value);
    case Schema::Type::kObject:
      return CheckObject(schema, value);
    case Schema::Type::kAnyOf:
      return CheckAnyOf(schema, value);
  }
  return std::nullopt;
}

tl::expected<boost::json::value, FieldError> ParseBody(std::string_view body, const Schema& schema) {
  auto json = ParseJson(body, "body", kMaxBodyParts);
  if (!json) return tl::unexpected(FieldError{"", json.error(), "invalid_json"});
  if (!json->is_object()) {
    return tl::unexpected(FieldError{"", InvalidArgument("the body must be a JSON object").value(), kInvalidType});
  }
  if (auto error = Check(schema, JsonView(*json, "body"))) return tl::unexpected(*std::move(error));
  DropUndeclared(schema, &json->get_object());
  return *std::move(json);
}

}  // namespace ingot::answers
